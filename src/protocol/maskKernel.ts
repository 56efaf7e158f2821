// XOR of many bytes with a key, by the SIMD instructions of WebAssembly: seven times as fast as
// 32-bit words in JavaScript at 64 KiB, copies into and out of its memory included (bench/micro.ts).
// What lies in its memory already needs no copies: that is where sockets are read into.

// The module, in the binary format. In the text format it is:
//
//   (memory (export "m") 3)
//   (func (export "f") (param $at i32) (param $end i32) (param $key i32) (local $keys v128)
//     (local.set $keys (i32x4.splat (local.get $key)))
//     (block (loop
//       (br_if 1 (i32.gt_u (i32.add (local.get $at) (i32.const 64)) (local.get $end)))
//       (v128.store (local.get $at) (v128.xor (v128.load (local.get $at)) (local.get $keys)))
//       ... the same with offset=16, offset=32 and offset=48 ...
//       (local.set $at (i32.add (local.get $at) (i32.const 64)))
//       (br 0)))
//     ... the same loop for 16 bytes at a time, and one byte at a time:
//       (i32.store8 (local.get $at) (i32.xor (i32.load8_u (local.get $at)) (local.get $key)))
//       (local.set $key (i32.rotr (local.get $key) (i32.const 8)))
//       ...)
const pages = 3
const number = (value: number): ReadonlyArray<number> => [(value & 0x7f) | 0x80, value >> 7]
const loop = (size: number, work: ReadonlyArray<number>): ReadonlyArray<number> => [
  ...[0x02, 0x40, 0x03, 0x40, 0x20, 0, 0x41, ...number(size), 0x6a, 0x20, 1, 0x4b, 0x0d, 1],
  ...work,
  ...[0x20, 0, 0x41, ...number(size), 0x6a, 0x21, 0, 0x0c, 0, 0x0b, 0x0b]
]
const vector = (offset: number): ReadonlyArray<number> => [
  ...[0x20, 0, 0x20, 0, 0xfd, 0x00, 4, offset],
  ...[0x20, 3, 0xfd, 0x51, 0xfd, 0x0b, 4, offset]
]
const byte = [0x20, 0, 0x20, 0, 0x2d, 0, 0, 0x20, 2, 0x73, 0x3a, 0, 0, 0x20, 2, 0x41, 8, 0x78, 0x21, 2]
const body = [
  ...[1, 1, 0x7b, 0x20, 2, 0xfd, 0x11, 0x21, 3],
  ...loop(64, [0, 16, 32, 48].flatMap(vector)),
  ...loop(16, vector(0)),
  ...loop(1, byte),
  0x0b
]
const module = Uint8Array.from([
  ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
  ...[1, 7, 1, 0x60, 3, 0x7f, 0x7f, 0x7f, 0],
  ...[3, 2, 1, 0],
  ...[5, 3, 1, 0, pages],
  ...[7, 9, 2, 1, 0x6d, 2, 0, 1, 0x66, 0, 0],
  ...[10, ...number(body.length + 3), 1, ...number(body.length), ...body]
])

export interface Kernel {
  /** XORs `bytes[start..end)` in place with a key of four bytes, given as a little-endian integer. */
  readonly xor: (bytes: Uint8Array, start: number, end: number, key: number) => void
  /** Its memory, of which what is behind `block` is free for others. */
  readonly memory: ArrayBuffer
}

/** What is needed of WebAssembly, which may be missing: browsers and runtimes can be told to do without. */
export interface Platform {
  readonly Module: new (binary: Uint8Array) => object
  readonly Instance: new (
    module: object
  ) => {
    readonly exports: {
      readonly m: { readonly buffer: ArrayBuffer }
      readonly f: (start: number, end: number, key: number) => void
    }
  }
}

/** What lies elsewhere is copied in and out in pieces of so many bytes. */
const most = 64 * 1024

/** So much of its memory the kernel takes for that. */
export const block = most + 4096

/**
 * Where in the kernel's memory to work. Some processors copy fifteen times slower to addresses that end in nearly the
 * same 12 bits as those that they copy from (bench/micro.ts), and large chunks begin where pages do, as that memory does.
 */
const halfAPageAway = (offset: number): number => (offset + 2048) & 0xff0

/** The kernel, where the platform can run it. */
export const makeKernel = (platform: Platform | undefined): Kernel | undefined => {
  if (platform === undefined) return undefined
  try {
    const { f, m } = new platform.Instance(new platform.Module(module)).exports
    const memory = new Uint8Array(m.buffer)
    const elsewhere = (bytes: Uint8Array, start: number, end: number, key: number): void => {
      const from = halfAPageAway(bytes.byteOffset + start)
      for (let at = start; at < end; at += most) {
        const part = bytes.subarray(at, Math.min(at + most, end))
        memory.set(part, from)
        f(from, from + part.length, key)
        bytes.set(memory.subarray(from, from + part.length), at)
      }
    }
    return {
      memory: m.buffer,
      xor: (bytes, start, end, key) => {
        if (bytes.buffer !== m.buffer) elsewhere(bytes, start, end, key)
        else f(bytes.byteOffset + start, bytes.byteOffset + end, key)
      }
    }
  } catch {
    return undefined
  }
}

/** Of all that is global, what is needed here; `Array` is named since some property must be known to be there. */
const platform: { readonly WebAssembly?: Platform; readonly Array: unknown } = globalThis

let made: { readonly kernel: Kernel | undefined } | undefined

/** The kernel of this platform, made when it is first asked for. */
export const kernel = (): Kernel | undefined => {
  made ??= { kernel: makeKernel(platform.WebAssembly) }
  return made.kernel
}
