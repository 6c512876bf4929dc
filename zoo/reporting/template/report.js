"use strict";
(() => {
  const root = document.documentElement;
  const themes = { "": "as the system", light: "light", dark: "dark" };
  const order = Object.keys(themes);
  const toggle = document.getElementById("theme");
  const remembered = () => {
    try { return localStorage.getItem("zoo-theme") || ""; } catch { return ""; }
  };
  const show = (theme) => {
    if (theme) { root.dataset.theme = theme; } else { delete root.dataset.theme; }
    toggle.querySelector("span").textContent = themes[theme];
  };
  show(order.includes(remembered()) ? remembered() : "");
  toggle.hidden = false;
  toggle.addEventListener("click", () => {
    const next = order[(order.indexOf(root.dataset.theme || "") + 1) % order.length];
    show(next);
    try { localStorage.setItem("zoo-theme", next); } catch { /* a browser may forbid it; the choice then holds for this page */ }
  });

  const zoom = document.getElementById("zoom");
  const large = zoom.querySelector("img");
  for (const button of document.querySelectorAll(".picture")) {
    button.addEventListener("click", () => {
      const image = button.querySelector("img");
      large.src = image.src;
      large.alt = image.alt;
      document.getElementById("zoom-title").textContent = button.dataset.title;
      zoom.showModal();
    });
  }
  zoom.addEventListener("click", (event) => { if (event.target === zoom) { zoom.close(); } });

  const compare = (a, b) => {
    const [x, y] = [Number(a), Number(b)];
    if (a === "" || b === "") { return (a === "") - (b === ""); }
    return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b, undefined, { numeric: true }) : x - y;
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        for (const other of heads) { other.removeAttribute("aria-sort"); }
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const rows = [...table.tBodies[0].rows];
        rows.sort((a, b) => (down ? -1 : 1) * compare(a.cells[column].dataset.order, b.cells[column].dataset.order));
        table.tBodies[0].append(...rows);
      });
    });
  }

  const closed = () => document.querySelectorAll("main details:not([open])");
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...closed()].filter((one) => !one.closest("figure"));
    for (const one of opened) { one.open = true; }
  });
  addEventListener("afterprint", () => { for (const one of opened) { one.open = false; } });
})();
