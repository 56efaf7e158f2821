// Opening handshakes, with the headers that a browser sends; the connections stay open until the round is over.

import { Redacted } from "effect"
import { makeCertificates } from "../../test/fixtures/certificates.js"
import { kindsNamed } from "../kinds.js"
import { amongServers, type Bench, figures } from "./bench.js"

export const handshakes: ReadonlyArray<Bench> = (["ws", "wss"] as const).map((scheme) => ({
  group: "handshakes",
  name: `handshakes ${scheme}`,
  figures: [{ ...figures.cpu, title: "CPU µs per handshake" }, figures.rate, figures.loadCpu],
  full: scheme === "wss",
  kinds: kindsNamed("run", "ws", ...(scheme === "ws" ? ["platform", "faye"] : []), "bun", "raw"),
  measure: (context) => {
    const tls = scheme === "wss"
    return amongServers(
      context,
      tls ? { tls: certificate() } : {},
      ({ port }) => ({ kind: "handshakes", settings: { port, tls, concurrency: 50 } }),
      warmUps
    )
  }
}))

/**
 * For each server alike. A handshake runs through much more code than a message, and each part of it once: after a single
 * round much of it isn't compiled yet, and a server that has been up for a minute is what is asked about.
 */
const warmUps = 4

const certificate = () => {
  const { cert, key } = makeCertificates().good
  return { cert, key: Redacted.value(key) }
}
