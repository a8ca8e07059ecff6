/* Opens, sorts and filters the table of findings. Without scripts every row stands open. */
(() => {
  "use strict";
  const table = document.querySelector("[data-findings]");
  if (!table) return;
  table.classList.add("scripted");
  const tools = document.querySelector("[data-tools]");
  tools.hidden = false;
  const bodies = [...table.tBodies];

  function open(body, wanted) {
    body.classList.toggle("shown", wanted);
    body.querySelector(".open").setAttribute("aria-expanded", String(body.classList.contains("shown")));
  }
  for (const body of bodies) {
    body.querySelector(".main").addEventListener("click", event => {
      if (!event.target.closest("a")) open(body, !body.classList.contains("shown"));
    });
  }
  function follow() {
    const body = location.hash.startsWith("#c-") && document.getElementById(location.hash.slice(1));
    if (body) { open(body, true); body.scrollIntoView({ block: "start" }); }
  }
  addEventListener("hashchange", follow);
  follow();

  [...table.tHead.rows[0].cells].forEach((head, column) => {
    if (!head.dataset.sort) return;
    head.tabIndex = 0;
    const sort = () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const value = body => body.rows[0].cells[column].dataset.value;
      const order = (a, b) => {
        const [x, y] = [value(a), value(b)];
        if (x === "" || y === "") return (x === "") - (y === "");
        return (up ? 1 : -1) * (head.dataset.sort === "number" ? x - y : x.localeCompare(y));
      };
      table.append(...[...table.tBodies].sort(order));
    };
    head.addEventListener("click", sort);
    head.addEventListener("keydown", event => { if (event.key === "Enter") sort(); });
  });

  const search = tools.querySelector("[data-search]");
  function filter() {
    const kind = tools.querySelector("[aria-pressed=true]").dataset.filter;
    const wanted = search.value.trim().split(/[\s,-]+/).filter(Boolean);
    for (const body of bodies) {
      const elements = body.dataset.formula.match(/[A-Z][a-z]?/g) || [];
      const fits = wanted.every(word => elements.includes(word) || body.dataset.formula === word);
      body.hidden = !(fits && (kind === "all" || body.dataset[kind] === "1"));
    }
  }
  search.addEventListener("input", filter);
  for (const button of tools.querySelectorAll("button")) {
    button.addEventListener("click", () => {
      for (const other of tools.querySelectorAll("button")) other.setAttribute("aria-pressed", String(other === button));
      filter();
    });
  }
})();
