import * as NodeNetwork from "effect-websocket/NodeNetwork"
import * as TestNetwork from "effect-websocket/TestNetwork"
import { prioritySuite } from "./suites/priority.js"
import { slowConsumerSuite } from "./suites/slowConsumer.js"

for (const [name, network] of [
  ["in memory", TestNetwork.layer],
  ["over TCP", NodeNetwork.layer]
] as const) {
  slowConsumerSuite(name, network)
  prioritySuite(name, network)
}
