import { describe, expect, it } from "@effect/vitest"
import { closePayload } from "../../src/protocol/close.js"
import { everyCut, fromHex, join, utf8 } from "../fixtures/bytes.js"
import { failed, hear, machine, peerOf, roles } from "../fixtures/machine.js"

describe.each(roles)("a %s that receives a Close", (role) => {
  const peer = peerOf(role)
  const close = (code?: number, reason = "") => peer(8, closePayload(code, reason))

  it("echoes the code, without the reason, and is closed cleanly", () => {
    expect(hear(role, join(peer(1, "last"), close(1000, "bye €")))).toEqual({
      events: ['text "last"'],
      sent: ['close 1000 ""'],
      outcome: 'closed 1000 "bye €", sent 1000, remote, clean'
    })
  })

  it("answers an empty one with an empty one", () => {
    expect(hear(role, close())).toEqual({
      events: [],
      sent: ["close fin"],
      outcome: 'closed 1005 "", sent undefined, remote, clean'
    })
  })

  it.each([1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999])(
    "takes the code %i",
    (code) => {
      expect(hear(role, close(code))).toEqual({
        events: [],
        sent: [`close ${code} ""`],
        outcome: `closed ${code} "", sent ${code}, remote, clean`
      })
    }
  )

  it.each([0, 1, 125, 999, 1004, 1005, 1006, 1015, 1016, 1100, 1999, 2000, 2999, 5000, 32_767, 32_768, 65_535])(
    "refuses the code %i",
    (code) => {
      expect(hear(role, close(code))).toEqual(failed(1002, `close code ${code} must not be sent (RFC 6455 7.4)`))
    }
  )

  it("takes every code from 0 to 5000 as the registry says", () => {
    for (let code = 0; code <= 5000; code++) {
      const observed = machine(role)
      observed.receive(close(code))
      const fine = (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || code >= 3000
      expect(observed.connection.outcome?._tag).toBe(fine && code < 5000 ? "Closed" : "Failed")
      expect(observed.connection.sentCode).toBe(fine && code < 5000 ? code : 1002)
    }
  })

  it("refuses a payload of one byte, as soon as it is declared", () => {
    const refused = failed(1002, "a Close frame's payload must be empty or at least two bytes (RFC 6455 5.5.1)")
    expect(hear(role, peer(8, "x"))).toEqual(refused)
    expect(hear(role, peer(8, "x").subarray(0, 2))).toEqual(refused)
  })

  it("refuses a reason that isn't UTF-8", () => {
    for (const bad of ["ff", "c3", "eda080", "c080", "f4908080"]) {
      expect(hear(role, peer(8, join(fromHex("03e8"), fromHex(bad))))).toEqual(
        failed(1007, "a close reason must be UTF-8 (RFC 6455 5.5.1)")
      )
    }
  })

  it("takes a reason of 123 bytes, and none of 124", () => {
    expect(hear(role, close(1000, "x".repeat(123)))).toMatchObject({
      outcome: `closed 1000 "${"x".repeat(123)}", sent 1000, remote, clean`
    })
    expect(hear(role, close(1000, "x".repeat(124)))).toEqual(
      failed(1002, "a control frame must carry at most 125 bytes of payload (RFC 6455 5.5)")
    )
  })

  it("takes nothing that follows, not even what is wrong", () => {
    const expected = { events: [], sent: ['close 1000 ""'], outcome: 'closed 1000 "", sent 1000, remote, clean' }
    for (const after of [peer(1, "late"), peer(9, "late"), peer(8, closePayload(1001, "")), peer(3), utf8("noise")]) {
      expect(hear(role, join(close(1000), after))).toEqual(expected)
      const observed = machine(role)
      observed.receive(close(1000), after)
      observed.connection.receiveEnd()
      expect(observed.heard()).toEqual(expected)
    }
  })

  it("in the middle of a message drops that message", () => {
    expect(hear(role, join(peer(1, "half", { fin: false }), close(1001)))).toEqual({
      events: [],
      sent: ['close 1001 ""'],
      outcome: 'closed 1001 "", sent 1001, remote, clean'
    })
  })

  it("doesn't answer the ping that waited for room", () => {
    const observed = machine(role)
    observed.connection.setCongested(true)
    observed.receive(join(peer(9, "waits"), close(1000)))
    observed.connection.setCongested(false)
    expect(observed.heard().sent).toEqual(['close 1000 ""'])
  })
})

describe.each(roles)("a %s that sends a Close", (role) => {
  const peer = peerOf(role)
  const close = (code?: number, reason = "") => peer(8, closePayload(code, reason))

  it("goes on receiving until it is answered, and then is closed cleanly", () => {
    const observed = machine(role)
    expect(observed.connection.isOpen).toBe(true)
    expect(observed.connection.isClosing).toBe(false)
    expect(observed.connection.sendClose(1001, "going")).toBe(undefined)
    expect(observed.connection.isOpen).toBe(false)
    expect(observed.connection.isClosing).toBe(true)
    observed.receive(join(peer(1, "still", { fin: false }), peer(0, " here")))
    expect(observed.heard()).toEqual({ events: ['text "still here"'], sent: ['close 1001 "going"'], outcome: "open" })
    observed.receive(close(1001))
    expect(observed.heard()).toEqual({
      events: ['text "still here"'],
      sent: ['close 1001 "going"'],
      outcome: 'closed 1001 "", sent 1001, local, clean'
    })
  })

  it("doesn't answer a Close that crosses its own, whatever its code", () => {
    for (const [code, heard] of [
      [undefined, 1005],
      [4000, 4000]
    ] as const) {
      const observed = machine(role)
      observed.connection.sendClose(1000, "")
      observed.receive(close(code))
      expect(observed.heard()).toMatchObject({
        sent: ['close 1000 ""'],
        outcome: `closed ${heard} "", sent 1000, local, clean`
      })
    }
  })

  it("doesn't answer a ping any more, and still tells of pongs", () => {
    for (const chunks of everyCut(join(peer(9, "p"), peer(10, "q")))) {
      const observed = machine(role)
      observed.connection.sendClose(1000, "")
      observed.receive(...chunks)
      expect(observed.heard()).toEqual({ events: ["pong 71"], sent: ['close 1000 ""'], outcome: "open" })
    }
  })

  it("drops the pong that waited for room", () => {
    const observed = machine(role)
    observed.connection.setCongested(true)
    observed.receive(peer(9, "waits"))
    observed.connection.sendClose(1000, "")
    observed.connection.setCongested(false)
    observed.receive(peer(9, "another"))
    expect(observed.heard().sent).toEqual(['close 1000 ""'])
  })

  it("sends only the first one", () => {
    const observed = machine(role)
    observed.connection.sendClose(undefined, "")
    expect(observed.connection.sendClose(1011, "again")).toBe(undefined)
    expect(observed.connection.sentCode).toBe(undefined)
    expect(observed.heard().sent).toEqual(["close fin"])
  })

  it("sends none once there is an outcome", () => {
    for (const end of [close(1000), peer(3), undefined]) {
      const observed = machine(role)
      if (end === undefined) observed.connection.receiveEnd()
      else observed.receive(end)
      const { sent } = observed.heard()
      expect(observed.connection.sendClose(1001, "late")).toBe(undefined)
      expect(observed.heard().sent).toEqual(sent)
    }
  })

  it("sends none whose code or reason can't be sent, and stays open", () => {
    const observed = machine(role)
    for (const [code, reason, rule] of [
      [1005, "", "close code 1005 must not be sent (RFC 6455 7.4)"],
      [999, "", "close code 999 must not be sent (RFC 6455 7.4)"],
      [1000, "x".repeat(124), "a close reason must be at most 123 bytes of UTF-8 (RFC 6455 5.5)"],
      [undefined, "why", "a close reason needs a close code (RFC 6455 5.5.1)"]
    ] as const) {
      expect(observed.connection.sendClose(code, reason)).toEqual({ _tag: "Breach", closeCode: 1002, rule })
    }
    expect(observed.heard()).toEqual({ events: [], sent: [], outcome: "open" })
    expect(observed.connection.isOpen).toBe(true)
  })
})

describe.each(roles)("a %s that leaves the end for later", (role) => {
  const peer = peerOf(role)
  const close = peer(8, closePayload(1000, "bye"))

  it("still sends what answers the messages before it, then its Close", () => {
    for (const end of [close, peer(3)]) {
      const observed = machine(role)
      const { connection } = observed
      expect(connection.ends).toBe(false)
      connection.consume(join(peer(1, "question"), end, peer(1, "late")))
      expect(connection.ends).toBe(true)
      expect(connection.outcome).toBe(undefined)
      connection.consume(peer(1, "later still"))
      connection.sendMessage("answer")
      connection.conclude()
      const { events, sent } = observed.heard()
      expect(events).toEqual(['text "question"'])
      expect(sent[0]).toBe('text fin "answer"')
      expect(sent[1]).toBe(end === close ? 'close 1000 ""' : 'close 1002 "opcode 0x3 is reserved (RFC 6455 5.2)"')
      expect(connection.ends).toBe(false)
      connection.conclude()
      expect(observed.heard().sent).toEqual(sent)
    }
  })

  it("doesn't answer a ping that waited behind much else, whatever still comes", () => {
    const observed = machine(role)
    observed.connection.sendMessage("x".repeat(70_000))
    observed.connection.consume(join(peer(9, "waits"), close))
    observed.connection.consume(peer(1, "late"))
    observed.connection.conclude()
    expect(observed.heard().sent.slice(1)).toEqual(['close 1000 ""'])
  })

  it("knows that the peer began, even if it sends a Close before it concludes", () => {
    const observed = machine(role)
    observed.connection.consume(new Uint8Array(close))
    observed.connection.sendClose(1001, "too")
    observed.connection.conclude()
    expect(observed.heard()).toEqual({
      events: [],
      sent: ['close 1001 "too"'],
      outcome: 'closed 1000 "bye", sent 1001, remote, clean'
    })
  })

  it("concludes when the stream ends", () => {
    const observed = machine(role)
    observed.connection.consume(new Uint8Array(close))
    observed.connection.receiveEnd()
    expect(observed.heard().outcome).toBe('closed 1000 "bye", sent 1000, remote, clean')
  })
})

describe.each(roles)("a %s whose stream ends", (role) => {
  const peer = peerOf(role)
  const ended = (...chunks: ReadonlyArray<Uint8Array>) => {
    const observed = machine(role)
    observed.receive(...chunks)
    observed.connection.receiveEnd()
    observed.connection.receiveEnd()
    return observed.heard()
  }

  it("without a Close is closed with 1006, which is not clean", () => {
    const heard = { events: ['text "a"'], sent: [], outcome: 'closed 1006 "", sent undefined, remote' }
    expect(ended(peer(1, "a"))).toEqual(heard)
    expect(ended(peer(1, "a"), peer(1, "half", { fin: false }))).toEqual(heard)
  })

  it("inside a frame says so", () => {
    const frame = peer(2, "abc")
    for (let end = 1; end < frame.length; end++) {
      expect(ended(frame.slice(0, end))).toEqual({
        events: [],
        sent: [],
        outcome: 'closed 1006 "the stream ended inside a frame", sent undefined, remote'
      })
    }
  })

  it("while its own Close is unanswered, was closed by itself", () => {
    const observed = machine(role)
    observed.connection.sendClose(1000, "")
    observed.connection.receiveEnd()
    expect(observed.heard()).toEqual({
      events: [],
      sent: ['close 1000 ""'],
      outcome: 'closed 1006 "", sent 1000, local'
    })
    expect(observed.connection.isOpen).toBe(false)
  })

  it("takes nothing more", () => {
    const observed = machine(role)
    observed.connection.receiveEnd()
    observed.receive(peer(1, "late"))
    expect(observed.heard().events).toEqual([])
    expect(observed.connection.isOpen).toBe(false)
  })
})
