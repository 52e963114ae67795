// The page is made on the server and works without this. With it, the page shows itself anew whenever the server says
// that something has changed, and times count on. Nothing here makes markup of text.
"use strict";

(() => {
  const main = document.getElementById("main");
  const live = document.getElementById("live");
  const topic = main.dataset.topic;
  if (!topic) return;

  let ahead = 0; // by how many milliseconds the server's clock is ahead of ours
  let asking = false;
  let again = false;

  const say = (text) => { if (live.textContent !== text) live.textContent = text; };

  // As the server puts it, in word.go.
  const relative = (at) => {
    const ms = at - (Date.now() + ahead);
    const s = Math.round(Math.abs(ms) / 1000);
    const text = s < 100 ? `${s} s` : s < 6000 ? `${Math.floor(s / 60)} min` : s < 360000 ? `${Math.floor(s / 3600)} h` : `${Math.floor(s / 86400)} days`;
    return ms > 0 ? `in ${text}` : `${text} ago`;
  };

  const tick = () => {
    for (const t of document.querySelectorAll("time[data-rel]")) {
      const text = relative(Date.parse(t.dateTime));
      if (t.textContent !== text) t.textContent = text;
    }
  };

  // merge makes was like is and touches nothing that is the same, so that the focus, what is unfolded, and what a
  // screen reader is at stay where they are.
  const merge = (was, is) => {
    if (was.nodeType === Node.TEXT_NODE) {
      if (was.data !== is.data) was.data = is.data;
      return;
    }
    if (was.nodeType !== Node.ELEMENT_NODE || was.hasAttribute("data-keep")) return;
    for (const a of is.attributes) if (was.getAttribute(a.name) !== a.value) was.setAttribute(a.name, a.value);
    for (const a of [...was.attributes]) {
      if (!is.hasAttribute(a.name) && !(was.nodeName === "DETAILS" && a.name === "open")) was.removeAttribute(a.name);
    }
    let at = was.firstChild;
    for (const next of [...is.childNodes]) {
      // What has gone is left behind, what is new is put before, and what has stayed is never moved.
      let same = at;
      if (next.id) while (same && same.id !== next.id) same = same.nextSibling;
      if (!same || same.nodeType !== next.nodeType || same.nodeName !== next.nodeName || (same.id || "") !== (next.id || "")) {
        was.insertBefore(document.importNode(next, true), at);
        continue;
      }
      while (at !== same) {
        const gone = at;
        at = at.nextSibling;
        gone.remove();
      }
      merge(same, next);
      at = same.nextSibling;
    }
    while (at) {
      const gone = at;
      at = at.nextSibling;
      gone.remove();
    }
  };

  const refresh = () => {
    if (asking) { again = true; return; }
    asking = true;
    const x = new XMLHttpRequest(); // it makes a document in which no script runs
    x.open("GET", location.href);
    x.responseType = "document";
    x.timeout = 15000;
    x.setRequestHeader("Unstuck-Refresh", "1");
    x.onload = () => {
      const page = x.response && x.response.getElementById("main");
      if (x.status === 200 && page && page.dataset.topic === topic) {
        merge(main, page);
        document.title = x.response.title;
        document.getElementById("now").replaceChildren(...[...x.response.getElementById("now").childNodes].map((n) => document.importNode(n, true)));
        ahead = Number(main.dataset.now) - Date.now();
        tick();
        say("It is shown as it happens.");
      } else if (x.status === 200) {
        location.reload(); // signed out
      } else {
        say(`What is shown is old: the server answers ${x.status}.`);
      }
    };
    x.onerror = x.ontimeout = () => say("What is shown is old: the server does not answer.");
    x.onloadend = () => {
      asking = false;
      if (again) { again = false; refresh(); }
    };
    x.send();
  };

  const connect = () => {
    const events = new EventSource(`${main.dataset.root}/live?of=${encodeURIComponent(topic)}`);
    events.addEventListener("changed", refresh);
    events.onerror = () => {
      say("What is shown is old: the connection is lost, and tried again.");
      if (events.readyState === EventSource.CLOSED) { // refused, and not tried again by itself
        events.close();
        setTimeout(() => { refresh(); connect(); }, 10000);
      }
    };
    addEventListener("pagehide", () => events.close(), { once: true });
  };

  addEventListener("pageshow", (e) => { if (e.persisted) location.reload(); });
  ahead = Number(main.dataset.now) - Date.now();
  tick();
  setInterval(tick, 1000);
  connect();
})();
