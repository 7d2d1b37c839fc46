"""Who may see the page, and who may change something: see gateway/web/README.md.

    request ─▶ guard ─▶ doors: who is it? ── sessions, users, certificate, token      ─▶ rules: may they? ─▶ site
               own name, own origin,         backoff: not so fast                        audit: who did what
               small, in time

Everything but `doors` is without a network; time is handed in.
"""
