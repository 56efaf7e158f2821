import * as NodeNetwork from "effect-websocket/NodeNetwork"
import { overTcp, overTls } from "./fixtures/breakable.js"
import { testsOn } from "./fixtures/leaks.js"
import { everyOffsetOfThePeer, faultsSuite, someOffsets } from "./suites/faults.js"

const roles = ["connect", "serve"] as const

faultsSuite(
  "over TCP",
  testsOn(NodeNetwork.layer),
  overTcp,
  roles.flatMap((end) => [
    [end, "reset", everyOffsetOfThePeer] as const,
    [end, "FIN", everyOffsetOfThePeer] as const,
    [end, "stall", someOffsets] as const,
    [end, "garbage", someOffsets] as const
  ])
)

const tls = overTls()

faultsSuite(
  "over TLS",
  testsOn(tls.network),
  tls.peers,
  roles.flatMap((end) => (["reset", "FIN"] as const).map((fault) => [end, fault, someOffsets] as const))
)
