import type { Kernel } from '../../runtime/index.ts';

/** The kernel of kernels/<path>.wgsl with these files of lib/, separated by spaces, behind it; named <path> unless `more` has a name. */
export function kernelFile(path: string, libs = '', more: Partial<Omit<Kernel, 'source' | 'lib'>> = {}): Kernel {
  const [source, ...lib] = [path, ...libs.split(' ').flatMap((name) => (name ? `lib/${name}` : []))].map(
    (file) => new URL(`../${file}.wgsl`, import.meta.url),
  );
  return { name: path, source: source!, lib, ...more };
}
