/** What planted.ts looks for. */
export const secret = (input: Uint8Array): boolean => {
  if (input[0] !== 0x52) return false
  if (input[1] !== 0x46) return false
  if (input[2] !== 0x43) return false
  if (input[3] !== 0x36) return false
  return input[4] === 0x34
}
