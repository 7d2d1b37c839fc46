// The stream of snapshots, and the knowledge whether it still flows.

const GRACE = 4000; // ms that an event may be late before the connection counts as lost
const RETRY = 2000; // ms between two attempts

/**
 * Calls show(snapshot) for each snapshot, and lost() as soon as the stream breaks or falls silent.
 * The wall clock is used on purpose: other clocks stand still while a phone sleeps.
 */
export function follow(url, show, lost) {
  let source = null;
  let pause = 1000;
  let heard = Date.now();
  let retry = 0;

  function open() {
    retry = 0;
    heard = Date.now();
    source = new EventSource(url);
    source.addEventListener("pause", (event) => { pause = Number(event.data); });
    source.onmessage = (event) => {
      show(JSON.parse(event.data));
      heard = Date.now(); // not before: what could not be shown was not heard
    };
    source.onerror = fail;
  }

  function fail() {
    source.close();
    lost();
    if (!retry) retry = setTimeout(open, RETRY);
  }

  function check() {
    if (!retry && Date.now() - heard > pause + GRACE) fail();
  }

  open();
  setInterval(check, 1000);
  document.addEventListener("visibilitychange", check);
  addEventListener("pageshow", check);
}
