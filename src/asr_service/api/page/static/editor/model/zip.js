// Writes a ZIP archive of small files, without compression (https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT).

const TABLE = Uint32Array.from({ length: 256 }, (_, index) => {
  let value = index;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});
const UTF_8 = 0x0800;
const VERSION = 20;

/** Return the bytes of an archive. `files` are {name, bytes}, with names as UTF-8. `date` is that of all files. */
export function zip(files, date = new Date()) {
  const locals = [];
  const directory = [];
  let offset = 0;
  for (const { name, bytes } of files) {
    const path = new TextEncoder().encode(name);
    const common = fields(
      [2, VERSION],
      [2, UTF_8],
      [2, 0],
      ...dosTime(date),
      [4, crc32(bytes)],
      [4, bytes.length],
      [4, bytes.length],
      [2, path.length],
      [2, 0],
    );
    const local = [fields([4, 0x04034b50]), common, path, bytes];
    directory.push(
      fields([4, 0x02014b50], [2, VERSION]),
      common,
      fields([2, 0], [2, 0], [2, 0], [4, 0], [4, offset]),
      path,
    );
    locals.push(...local);
    offset += sizeOf(local);
  }
  const end = fields(
    [4, 0x06054b50],
    [2, 0],
    [2, 0],
    [2, files.length],
    [2, files.length],
    [4, sizeOf(directory)],
    [4, offset],
    [2, 0],
  );
  return joined([...locals, ...directory, end]);
}

function crc32(bytes) {
  let value = 0xffffffff;
  for (const byte of bytes) value = (value >>> 8) ^ TABLE[(value ^ byte) & 0xff];
  return (value ^ 0xffffffff) >>> 0;
}

function dosTime(date) {
  const time = (date.getHours() << 11) | (date.getMinutes() << 5) | (date.getSeconds() >> 1);
  return [
    [2, time],
    [2, ((date.getFullYear() - 1980) << 9) | ((date.getMonth() + 1) << 5) | date.getDate()],
  ];
}

/** Return little-endian numbers, each of which is given as its size in bytes and its value. */
function fields(...numbers) {
  const view = new DataView(new ArrayBuffer(numbers.reduce((sum, [size]) => sum + size, 0)));
  let at = 0;
  for (const [size, value] of numbers) {
    if (size === 2) view.setUint16(at, value, true);
    else view.setUint32(at, value, true);
    at += size;
  }
  return new Uint8Array(view.buffer);
}

function sizeOf(parts) {
  return parts.reduce((sum, part) => sum + part.length, 0);
}

function joined(parts) {
  const whole = new Uint8Array(sizeOf(parts));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
