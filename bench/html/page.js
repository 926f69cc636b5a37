'use strict';
// Sorts a table by a column; a second click the other way round. Numbers begin with the largest.
for (const header of document.querySelectorAll('th')) {
  header.addEventListener('click', () => {
    const body = header.closest('table').tBodies[0];
    const key = (row) => row.cells[header.cellIndex].dataset.value ?? row.cells[header.cellIndex].textContent;
    const compare = (a, b) => Number(key(b)) - Number(key(a)) || key(a).localeCompare(key(b));
    const sign = header.dataset.sorted === '1' ? -1 : 1;
    header.dataset.sorted = sign;
    body.append(...[...body.rows].sort((a, b) => sign * compare(a, b)));
  });
}
