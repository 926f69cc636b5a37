/** The characters that byte-level vocabularies write for the bytes 0 to 255: printable ones for themselves. */
export const BYTE_CHARS: readonly string[] = byteChars();

const BYTES = new Map(BYTE_CHARS.map((char, byte) => [char, byte]));

/** The bytes that a token of a byte-level vocabulary stands for; its UTF-8 where it has other characters. */
export function tokenBytes(token: string): Uint8Array {
  const bytes = Array.from(token, (char) => BYTES.get(char));
  return bytes.includes(undefined) ? Buffer.from(token) : Uint8Array.from(bytes as number[]);
}

function byteChars(): string[] {
  let next = 256;
  const printable = (byte: number) => (byte > 32 && byte < 127) || (byte > 160 && byte !== 173);
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(printable(byte) ? byte : next++));
}
