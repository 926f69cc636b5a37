/**
 * The file of a module beside the module `own` (its last folder and name, without extension), which a thread or a process is to run.
 * `url` is the module's own. Undefined in a bundle, which has no such files.
 */
export function programFile(url: string | undefined, own: string, name: string): URL | undefined {
  const extension = ['.js', '.ts'].find((ending) => url?.endsWith(`/${own}${ending}`));
  return extension === undefined ? undefined : new URL(`./${name}${extension}`, url);
}
