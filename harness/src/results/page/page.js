"use strict";
(() => {
  const form = document.getElementById("filters");
  const field = (id) => document.getElementById(id);
  const rows = new Map([...document.querySelectorAll("tr[data-case]")].map((row) => [`case-${row.dataset.case}`, row]));
  const cases = [...document.querySelectorAll("details.case")].map((element) => ({
    element,
    row: rows.get(element.id),
    words: element.textContent.toLowerCase(),
  }));

  const fits = ({ element, words }) => {
    const { result, verdicts, firewall } = element.dataset;
    const wanted = field("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    return wanted.every((word) => words.includes(word))
      && ["", result].includes(field("result").value)
      && (field("verdict").value === "" || verdicts.split(" ").includes(field("verdict").value))
      && ["", firewall].includes(field("firewall").value);
  };
  const narrow = () => {
    let shown = 0;
    for (const one of cases) {
      const hidden = !fits(one);
      one.element.hidden = hidden;
      one.row.hidden = hidden;
      shown += hidden ? 0 : 1;
    }
    field("shown").textContent = `${shown} of ${cases.length} scenarios`;
  };
  // A link to a case opens it, also one that was followed before the page was loaded.
  const open = () => {
    const target = location.hash ? document.getElementById(location.hash.slice(1)) : null;
    if (target instanceof HTMLDetailsElement) {
      target.hidden = false;
      target.open = true;
      target.scrollIntoView();
    }
  };
  // A choice is a change; who types is followed key by key.
  for (const event of ["input", "change"]) form.addEventListener(event, narrow);
  form.addEventListener("submit", (event) => event.preventDefault());
  // The fields are empty only after the event.
  form.addEventListener("reset", () => setTimeout(narrow));
  window.addEventListener("hashchange", open);
  form.hidden = false;
  narrow();
  open();
})();
