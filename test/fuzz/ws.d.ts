// What `ws` exports beyond what its types tell.

import type { Writable } from "node:stream"

declare module "ws" {
  export class Receiver extends Writable {
    constructor(options: {
      readonly isServer: boolean
      readonly maxPayload: number
      readonly maxFragments: number
      readonly extensions: { readonly [name: string]: PerMessageDeflate }
    })
  }

  export class PerMessageDeflate {
    constructor(options: { readonly isServer: boolean; readonly maxPayload: number })
    accept(offers: Array<{ [parameter: string]: Array<string | true> }>): unknown
    cleanup(): void
  }

  export const subprotocol: { readonly parse: (header: string) => ReadonlySet<string> }

  export const extension: {
    readonly parse: (header: string) => { [name: string]: Array<{ [parameter: string]: Array<string | true> }> }
  }
}
