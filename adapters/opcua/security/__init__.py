"""Who we are, who the server is, and how what is said between us is protected.

certificates   what a certificate says                                         pure
own            the gateway's own certificate and key, the user's               files
store          whom we trust: data_dir/opcua/pki                               files
verdict        whether a certificate is believed, and why not                  pure
choice         which endpoint, and which way to log in                         pure
secure         all of it together, before a line is opened

   client.endpoints() ── choice ── verdict ──▶ Protection ──▶ client.protect() ── dial ── log in
   (anybody may answer)             │                                                  │
                                    ▼                                                  ▼
                              rejected, explained            the signature proves the certificate; the server's
                                                             endpoints are compared again: nobody has taken any away
"""
