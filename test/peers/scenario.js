// What a client with the standard WebSocket interface sees of our server. Plain
// JavaScript without imports, because it runs in a browser as well.

export const scenario = async (WebSocket, base) => {
  const connect = (path, protocols = []) => {
    const socket = new WebSocket(base + path, protocols)
    socket.binaryType = "arraybuffer"
    // Some tell of a connection that can't be made by this event alone, and ws throws it if nobody listens.
    const failed = new Promise((resolve) => {
      socket.onerror = () => resolve(false)
    })
    const messages = []
    const waiting = []
    socket.onmessage = ({ data }) => {
      const next = waiting.shift()
      if (next) next(data)
      else messages.push(data)
    }
    return {
      socket,
      next: () =>
        messages.length > 0 ? Promise.resolve(messages.shift()) : new Promise((resolve) => waiting.push(resolve)),
      opened: Promise.race([
        failed,
        new Promise((resolve) => {
          socket.onopen = () => resolve(true)
        })
      ]),
      closed: new Promise((resolve) => {
        socket.onclose = ({ code, reason, wasClean }) => resolve({ code, reason, wasClean })
      })
    }
  }
  const open = async (path, protocols) => {
    const connection = connect(path, protocols)
    if (!(await connection.opened)) throw new Error(`no connection to ${path}`)
    return connection
  }
  const same = (one, other) => {
    if (typeof one === "string" || typeof other === "string") return one === other
    const a = new Uint8Array(one)
    const b = new Uint8Array(other)
    return a.length === b.length && a.every((byte, index) => byte === b[index])
  }
  const bytes = (size) => Uint8Array.from({ length: size }, (_, index) => (index * 31 + (index >> 8)) & 255)

  // Sent at once and not one by one, so that frames meet in all kinds of reads.
  const sizes = [0, 1, 125, 126, 65_535, 65_536, 1_048_000]
  const echoes = [
    ...sizes.map((size) => "x".repeat(size)),
    ...sizes.map(bytes),
    ...["grüße", "日本語", "👩‍👩‍👧‍👦", "\u0000\uffff\u{10ffff}", "é".repeat(100_000)]
  ]
  const echo = await open("/echo")
  for (const message of echoes) echo.socket.send(message)
  const changed = []
  for (const [index, message] of echoes.entries()) if (!same(await echo.next(), message)) changed.push(index)
  echo.socket.close()

  const pushed = await open("/fragments")
  const fragments = [await pushed.next(), [...new Uint8Array(await pushed.next())], await pushed.next()]
  pushed.socket.close()

  const pinged = await open("/ping")
  const pong = await pinged.next()
  pinged.socket.close()

  const fromServer = []
  for (const query of ["code=1000&reason=bye", "code=1001", "", "code=3000", "code=4999&reason=gr%C3%BC%C3%9Fe"]) {
    fromServer.push(await (await open(`/close?${query}`)).closed)
  }

  const fromClient = []
  for (const close of [[1000, "bye"], [], [3000], [4999, "grüße"]]) {
    const { socket, closed } = await open("/told")
    socket.close(...close)
    fromClient.push(await closed)
  }

  const protocols = []
  for (const offered of [[], ["v1"], ["v1", "v2"], ["v3", "v1"]]) {
    const { socket } = await open("/chosen", offered)
    protocols.push(socket.protocol)
    socket.close()
  }
  const stranger = connect("/chosen", ["v3"])
  const strangerOpened = await stranger.opened
  stranger.socket.close()

  const missing = await connect("/missing").opened
  return { changed, fragments, pong, fromServer, fromClient, protocols, strangerOpened, missing }
}

/** What comes back for one message, or that no connection can be made. */
export const visit = (WebSocket, url) =>
  new Promise((resolve) => {
    const socket = new WebSocket(url)
    socket.onopen = () => socket.send("hello")
    socket.onmessage = ({ data }) => {
      socket.close()
      resolve(data)
    }
    socket.onerror = () => resolve("no connection")
  })
