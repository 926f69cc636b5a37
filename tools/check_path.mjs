// Plain JavaScript, loaded before anything that tsx has to translate: in a folder with a ? in its name, tsx cannot.
if (import.meta.url.includes('%3F')) {
  const folder = decodeURIComponent(new URL('..', import.meta.url).pathname);
  console.error(`error: checkout: expected a path without ?, got ${folder}; rename the folder`);
  process.exit(2);
}
