// What the page says around its figures.

export const head = `# Performance

<!-- Made by \`npm run bench -- --write\`: change bench/report, not this file. -->

What a message, a handshake and a quiet connection cost, beside other servers and clients in the same run. The figure to
look at is **server CPU time per message**: it is steady, and says how many messages a core can do at the most.
Throughput depends as much on the load generator, on the other core.

\`\`\`sh
npm run bench                               # all of this, half an hour
npm run bench -- --quick                    # a part of it, in shorter rounds
npm run bench -- "16 B" --servers run,ws    # some workloads, some servers
npm run bench -- --compare HEAD~1           # our forms now, and at another revision
npm run bench:micro                         # the parts: masks, UTF-8, frames, wake-ups
\`\`\`

Each server is a process of its own, plain JavaScript without a loader; another process makes the load with raw
sockets and frames that were encoded before, and compares what comes back. The servers take turns in short rounds, first in
one order, then in the other; what is told is the median of the rounds, and ratios are medians of each round's ratio. The
processor time is that of the server's process from before the first message of a round until all echoes are back.`

export const groups: Readonly<Record<string, { readonly title: string; readonly text: string }>> = {
  echo: {
    title: "Echo",
    text: `Size : connections : messages in flight on each connection. Binary unless it says text. In parentheses how many
times less CPU than \`ws\` a message takes. With one in flight, each message is a read, a wake-up and a write of its own; with 32,
what comes with one read is worked on together, and leaves in one write.`
  },
  deflate: {
    title: "Compression",
    text: `permessage-deflate, messages of 1 KiB of JSON over 100 connections, compressed both ways by each server's defaults
but for the threshold. \`bytes per answer\` tells what that achieves.`
  },
  broadcast: {
    title: "Broadcast",
    text: "One text message of 1 KiB to all connections, one in a turn of the event loop."
  },
  "fan-in": {
    title: "Fan-in",
    text: "Many connections that send bursts, and get one short answer for each. Messages are counted, not answered."
  },
  handshakes: {
    title: "Opening handshakes",
    text: `New connections, 50 at once, with the headers of a browser; \`wss\` with a key on P-256, and no session resumed. \`raw\` answers
without reading what was asked.`
  },
  idle: {
    title: "Idle connections",
    text: `10,000 connections that have echoed one message of 1 KiB each, and are quiet: growth of RSS after garbage was collected.
\`raw\` is what Node's own socket takes; what the kernel takes beside (of both ends together, halved) isn't in any process.`
  },
  client: {
    title: "Clients",
    text: `CPU time of the client, over 100 connections in one process: messages received in rounds of 32, each answered with one; and
sent in rounds of 32, when one asks for them.`
  },
  streamed: {
    title: "Messages larger than memory",
    text: "One message of 1 GiB, in pieces of 256 KiB, none of which is kept."
  }
}

export const names = `## The names

| | |
|---|---|
| \`run\` | ours: \`socket.run((message) => socket.send(message))\`, a handler that needn't suspend |
| \`handler\` | ours: \`socket.run\` with an \`Effect.fnUntraced\` of two steps |
| \`gen\` | the same two steps as \`(message) => Effect.gen(function* () {…})\`: see "Handlers" below |
| \`suspending\` | ours: \`socket.run\` with a handler that yields to other fibers before it answers |
| \`loop\` | ours: \`Effect.gen\` with a loop of \`yield* socket.send(yield* socket.receive)\` |
| \`batch\` | ours: \`receiveAll\` and \`sendAll\` |
| \`stream\` | ours: \`Stream.run(socket.messages, socket.sink)\` |
| \`broadcast\`, \`offer\` | ours: \`Broadcast.publish\`; a loop of \`socket.offer\` with a prepared message |
| \`ws\`, \`ws+native\` | \`ws\` with callbacks, without and with its native addon \`bufferutil\` |
| \`platform\` | \`@effect/platform-node\`: \`NodeSocketServer.makeWebSocket\` with \`runRaw\`, over \`ws\` |
| \`faye\` | \`faye-websocket\` |
| \`undici\` | the client of \`undici\`, which is Node's own \`WebSocket\` |
| \`bun\` | \`Bun.serve\`, another runtime: its sockets and its framing are native code |
| \`ws+kept\` | \`ws\`, with a C library that keeps what is freed, as ours has it: see "Large messages" below |
| \`raw\` | \`node:net\` that writes back what it reads, with no framing at all: the limit of Node's sockets; in a broadcast, a loop of \`write\` |
| \`raw+shared\` | the same, but reading into memory that all sockets share, as ours does |

uWebSockets.js isn't in the npm registry, so it isn't measured here.`

export const profiles = `## Where it goes

Looked at by hand, on 29 and 30 November 2026, on the machine above; nothing here is measured by \`npm run bench\`.

**A handshake**, opened and closed again in a server that is warm, as shares of the processor's time: the write of the answer
16 % (nearly all of it the system call), garbage collection 14 %, the handler's end after the peer's 11 % (the stack trace of its
\`ConnectionClosed\` was half of that; it has none any more), Node's socket 5 to 16 %, the fork of the handler's fiber 6 %, the socket that the
handler gets and its two timers 5 %, SHA-1 and the encoding of the answer 5 %, reading and judging the request 4 %, asking the
system for the peer's address 2 %. To open alone took 181 µs beside 109 of \`ws\` and 58 of \`raw\` in the same run. Opened and closed again, garbage collection
is 57 µs beside 16 of \`ws\`, for connections that stay open are copied twice, and ours are larger; the handler's end is 46.

**A quiet connection** keeps 10.4 KB in the heap, where \`raw\` keeps 1.7:

| | bytes | objects |
|---|---:|---:|
| closures, and what they close over | 3,000 | 60 |
| arrays, with their elements | 1,750 | 32 |
| of the connection: state machine, decoder, ways in and out, timers | 1,900 | 20 |
| of Node's socket: its handle, streams and listeners | 1,300 | 7 |
| of Effect: the handler's fiber, its stack and what it waits for | 850 | 9 |
| strings, among them the request's head, and the rest | 1,600 | |

A fiber that waits is 1.3 to 1.5 KB by itself, so that with one per connection some 5 KB are the least; outside of the heap
Node's socket takes 5 KB more in all of them.

**Handlers** that are generators: a \`function*\` that stands inside of the handler is made anew for each message, and for each V8 makes a
hidden class at its first call. That alone takes 3 µs, with \`Effect.gen\` round it 5, while \`Effect.fnUntraced\`, whose generator
function is made once, takes 1.4, \`Effect.flatMap\` 0.7, and \`Effect.fn\`, which notes where it was called, 25: measured without any
connection. So \`socket.run(Effect.fnUntraced(function* (message) {…}))\` is the way to write one that has many messages.

**Large messages** each have memory of their own, outside of V8's heap, and two things decide what that costs.

- What V8 frees, some 32 MiB at a time, glibc gives back to the system. Each message of 64 KiB then is 10 to 16 page faults, half
  of the CPU time of an echo: 110 to 150 µs with them and 67 to 85 without, on a quiet machine. So after 4096 reads of 16 KiB or more
  glibc is taught to keep up to 64 MiB (\`src/internal/nodeMemory.ts\` tells how). Setting \`MALLOC_TRIM_THRESHOLD_\` and
  \`MALLOC_MMAP_THRESHOLD_\` does the same for any process, and overrules it.
- In some processes an echo of 64 KiB takes 130 to 160 µs, in others of the same build 75, one of 1 MiB 3,000 or 1,200, and it stays so.
  As far as traces tell: in a slow one V8 marks all of its heap after every other collection of its young generation, in several threads, though nothing
  has become old: \`--trace-gc-nvp\` told of 44 markings in 2.5 seconds with no byte promoted, and of none in a fast process. It marks when
  there are 64 MiB outside of its heap, and messages that are dead count until a thread has given them back: 32 MiB may be
  young, 32 MiB wait for that thread, and where it comes late, as on two cores with the load on one of them, that is the limit. The
  marking then takes the processors that the thread needs. With \`--no-concurrent-array-buffer-sweeping\`, where there is no such thread, four
  processes took 1,170 to 2,410 µs for 1 MiB, four others beside them 1,490 to 4,610. With \`ws\` it is the same: 2,900 to 5,600.
- V8 also allocates what one place in the code makes as old memory if such objects have often lived long ("pretenuring"), as
  the lists of 100 new connections do. In old memory even a dead one keeps the message alive that it holds. This library's own two
  places are mended: the lists of what came, and of what is to be written. Two are left, the list of what waits in each of Node's
  sockets (\`buffered\` of a corked stream), and the results of generators in \`yield*\`, of which \`loop\` and \`handler\` consist.
  With \`node --no-allocation-site-pretenuring\` 16 of 16 processes were fast on one day, and 10 of 19 on the next: it is one cause of two.
- In the run above nearly all processes of ours are slow ones with 64 KiB and 1 MiB. In a shorter one of an hour before (these workloads and two before
  them) they were fast, but for \`handler\` and \`suspending\` with 1 MiB: 3.6 (\`run\`), 2.8 (\`loop\`) and 3.3 times (\`batch\`) \`ws\` with 64 KiB, and 3.1,
  2.9 and 2.9 times with 1 MiB, where \`raw\` is 3.4 times. To copy 64 KiB behind their header, in place of \`cork\`, didn't help
  (six processes of each, twice).

**An echo** of 16 bytes with one message in flight is 59 % kernel, 22 % Node and V8's own code, and 19 % compiled JavaScript,
ours, Effect's and Node's together. With \`ws\` it is 55, 33 and 12 %, with \`raw+shared\` 68, 22 and 9 %.`

export const limits = `## What the numbers do not show

- One machine, one kernel, the loopback device: no latency, no loss, no network card. Where a network is slow, all of these wait for it.
- A system call costs more or less on other machines, above all in virtual ones, and with one message in flight most of
  the time is spent in them. There the ratios move towards 1.
- Handlers that do nothing. A handler that parses JSON or asks a database makes all differences between libraries smaller.
- Defaults differ. Ours answers for backpressure, limits, UTF-8 and a heartbeat; \`ws\` has no heartbeat and lets what is sent pile
  up, and so does Bun up to its limit. \`faye\` validates, too; \`raw\` checks nothing.
- Bursts: 32 in flight come as 32 frames in one write of the client. Peers that send them one by one are between the two rows.
- The load generator is JavaScript as well. Its own time for a message is told, and where it is above the server's, the throughput is its
  throughput; the server's CPU time isn't touched by that, but for less being there to be read at once.
- Memory is after garbage collection. A server under load holds more, in all of them.
- Latencies are those of a closed loop, where nobody sends before the answer is there: they tell what a turn takes, not what happens
  when messages come faster than they can be served.`
