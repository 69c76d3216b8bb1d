for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th"), body = head.closest("table").tBodies[0];
    const index = [...head.parentNode.children].indexOf(head);
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = row => {
      const text = row.children[index].dataset.value;
      return head.classList.contains("numeric") ? (text === "" ? NaN : Number(text)) : text;
    };
    const order = (a, b) => {
      const x = key(a), y = key(b);
      if (x !== x || y !== y) return (x !== x) - (y !== y);
      return (x < y ? -1 : x > y ? 1 : 0) * (down ? -1 : 1);
    };
    const [first, ...rest] = [...body.rows].sort((a, b) => a.dataset.index - b.dataset.index);
    body.append(first, ...rest.sort(order));
  });
}
