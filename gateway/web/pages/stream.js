// A stream of server-sent events, and the knowledge whether it still flows.

const GRACE = 4000; // ms that an event may be late before the connection counts as lost
const PAUSES = [1000, 2000, 4000, 8000, 15000]; // ms before each further attempt

/**
 * Calls show(data) for each event, and lost() as soon as the stream breaks or falls silent. Returns what ends it.
 * The wall clock is used on purpose: other clocks stand still while a phone sleeps.
 */
export function follow(url, show, lost) {
  let source = null;
  let pause = 1000;
  let heard = Date.now();
  let failed = 0;
  let retry = 0;

  function open() {
    retry = 0;
    heard = Date.now();
    source = new EventSource(url);
    source.addEventListener("pause", (event) => { pause = Number(event.data); });
    source.onmessage = (event) => {
      show(JSON.parse(event.data));
      heard = Date.now(); // not before: what could not be shown was not heard
      failed = 0;
    };
    source.onerror = fail;
  }

  function fail() {
    source.close();
    lost();
    // Not all pages at once, when a gateway has come back.
    if (!retry) retry = setTimeout(open, PAUSES[Math.min(failed++, PAUSES.length - 1)] * (0.75 + Math.random() / 2));
  }

  function check() {
    if (!retry && Date.now() - heard > pause + GRACE) fail();
  }

  function again() {
    if (!retry) return check();
    clearTimeout(retry);
    open();
  }

  open();
  const watch = setInterval(check, 1000);
  document.addEventListener("visibilitychange", check);
  addEventListener("pageshow", check);
  addEventListener("online", again);
  return () => {
    source.close();
    clearInterval(watch);
    clearTimeout(retry);
    document.removeEventListener("visibilitychange", check);
    removeEventListener("pageshow", check);
    removeEventListener("online", again);
  };
}
