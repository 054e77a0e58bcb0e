// A ZIP archive of files as they are, without compression (APPNOTE 6.3.10; pictures are compressed already).
const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});
const MOST_ZIP_BYTES = 0xffffffff; // beyond it ZIP64 is needed
const MOST_ZIP_FILES = 0xffff;

function crc32(bytes) {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = CRC_TABLE[(crc ^ byte) & 0xff] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

// Of [name, blob] pairs; one file at a time is in memory. Throws if they don't fit a ZIP archive without extensions.
async function zipOf(files) {
  const parts = [];
  const directory = [];
  let offset = 0;
  for (const [name, blob] of files) {
    const path = new TextEncoder().encode(name);
    const fields = [0x0800, 0, 0, 0x21, crc32(new Uint8Array(await blob.arrayBuffer())), blob.size, blob.size, path.length, 0]; // names in UTF-8, stored, on 1980-01-01
    const header = record([[4, 0x04034b50], [2, 20], ...sized(fields)]);
    parts.push(header, path, blob);
    directory.push(record([[4, 0x02014b50], [2, 20], [2, 20], ...sized(fields), [2, 0], [2, 0], [2, 0], [4, 0], [4, offset]]), path);
    offset += header.length + path.length + blob.size;
    if (offset > MOST_ZIP_BYTES) throw new Error('the pictures exceed 4 GB');
  }
  const count = directory.length / 2;
  if (count > MOST_ZIP_FILES) throw new Error('there are more than 65,535 files');
  const size = directory.reduce((total, part) => total + part.length, 0);
  const end = record([[4, 0x06054b50], [2, 0], [2, 0], [2, count], [2, count], [4, size], [4, offset], [2, 0]]);
  return new Blob([...parts, ...directory, end], { type: 'application/zip' });
}

function sized([flags, method, time, date, crc, stored, full, name, extra]) {
  return [[2, flags], [2, method], [2, time], [2, date], [4, crc], [4, stored], [4, full], [2, name], [2, extra]];
}

// Numbers, little-endian, each with its size in bytes.
function record(numbers) {
  const bytes = new DataView(new ArrayBuffer(numbers.reduce((total, [size]) => total + size, 0)));
  let at = 0;
  for (const [size, value] of numbers) {
    if (size === 2) bytes.setUint16(at, value, true);
    else bytes.setUint32(at, value, true);
    at += size;
  }
  return new Uint8Array(bytes.buffer);
}
