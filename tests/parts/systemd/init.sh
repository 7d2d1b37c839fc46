#!/bin/bash
# Becomes the systemd of a root folder; in new namespaces, where it is process 1. bash init.sh FOLDER
set -euo pipefail
root=$1
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sys "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
for folder in run tmp dev; do
    mount -t tmpfs tmpfs "$root/$folder"
done
for device in null zero full random urandom tty; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root"/dev/{pts,shm}
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
# Not chroot: who is in one may not make the user namespaces that PrivateUsers= needs.
mkdir "$root/run/outside"
cd "$root"
pivot_root . run/outside
umount --lazy /run/outside
mount --make-rshared / # without this a unit with LoadCredential= finds an empty folder
exec env -i container=lxc PATH=/usr/sbin:/usr/bin:/sbin:/bin /sbin/init systemd.unit=multi-user.target </dev/null
