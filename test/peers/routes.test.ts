import {
  Cookies,
  HttpApi,
  HttpApiBuilder,
  HttpApiEndpoint,
  HttpApiError,
  HttpApiGroup,
  HttpApiMiddleware,
  HttpApiSecurity,
  HttpApp,
  HttpLayerRouter,
  HttpMiddleware,
  HttpRouter,
  HttpServer,
  HttpServerRequest,
  HttpServerRespondable,
  HttpServerResponse
} from "@effect/platform"
import { describe, expect } from "@effect/vitest"
import { Context, Deferred, Effect, Exit, Layer, Logger, Redacted, Schema, type Tracer } from "effect"
import type { Network } from "effect-websocket/Network"
import * as WebSocket from "effect-websocket/WebSocket"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { refusedBy } from "../fixtures/joined.js"
import { rawClient, upgradeRequest } from "../fixtures/rawPeer.js"
import { serving, test } from "../fixtures/routes.js"

class User extends Context.Tag("test/User")<User, string>() {}

const greet = (socket: WebSocket.WebSocket) => Effect.flatMap(User, (name) => socket.send(`hello ${name}`))

const greetYou = (socket: WebSocket.WebSocket) => socket.send("hello you")

/** The first message of a connection, and what its 101 said. */
const visit = (url: string, options?: WebSocket.ConnectOptions) =>
  Effect.scoped(
    Effect.gen(function* () {
      const { headers, receive, subprotocol } = yield* WebSocket.connect(url, options)
      return { first: yield* receive, headers, subprotocol }
    })
  )

const withSession = { headers: { cookie: "session=letmein" } }

const isSession = (value: string | undefined) => value === "letmein"

/** Middleware that lets in whom it knows, and answers all others itself. */
const authenticated = HttpMiddleware.make((app) =>
  Effect.flatMap(HttpServerRequest.HttpServerRequest, ({ cookies }) =>
    isSession(cookies["session"])
      ? Effect.provideService(app, User, "ada")
      : Effect.succeed(
          HttpServerResponse.unsafeJson({ error: "log in first" }, { status: 401, headers: { "x-login": "/login" } })
        )
  )
)

describe("a route that upgrades", () => {
  class Authentication extends HttpApiMiddleware.Tag<Authentication>()("test/Authentication", {
    provides: User,
    failure: HttpApiError.Unauthorized,
    security: { cookie: HttpApiSecurity.apiKey({ in: "cookie", key: "session" }) }
  }) {}

  const authentication = Layer.succeed(
    Authentication,
    Authentication.of({
      cookie: (key) =>
        isSession(Redacted.value(key)) ? Effect.succeed("ada") : Effect.fail(new HttpApiError.Unauthorized())
    })
  )

  class Api extends HttpApi.make("api").add(
    HttpApiGroup.make("rooms")
      .add(HttpApiEndpoint.get("names", "/rooms").addSuccess(Schema.Array(Schema.String)))
      .add(HttpApiEndpoint.get("enter", "/rooms/:room").setPath(Schema.Struct({ room: Schema.NumberFromString })))
      .middleware(Authentication)
  ) {}

  const group = HttpApiBuilder.group(Api, "rooms", (handlers) =>
    handlers
      .handle("names", () => Effect.map(User, (user) => [user]))
      .handleRaw("enter", ({ path }) =>
        Effect.orDie(
          WebSocketServer.upgrade((socket) =>
            Effect.flatMap(User, (user) => socket.send(`hello ${user} in ${path.room + 1}`))
          )
        )
      )
  ).pipe(Layer.provide(authentication))

  test(
    "of HttpApi has the decoded path and what security has found out; a request without a key gets the API's error",
    Effect.gen(function* () {
      const { http, url } = yield* serving(
        HttpApiBuilder.serve(HttpMiddleware.logger).pipe(
          Layer.provide(HttpApiBuilder.api(Api)),
          Layer.provide(group),
          Layer.provide(Logger.remove(Logger.defaultLogger))
        )
      )
      expect(yield* visit(`${url}/rooms/41`, withSession)).toMatchObject({ first: "hello ada in 42" })
      expect(yield* refusedBy(`${url}/rooms/41`)).toMatchObject({ _tag: "HandshakeError", status: 401 })
      expect(yield* refusedBy(`${url}/rooms/none`, withSession)).toMatchObject({ _tag: "HandshakeError", status: 400 })
      const names = yield* Effect.promise(() => fetch(`${http}/rooms`, withSession))
      expect(yield* Effect.promise(() => names.json())).toEqual(["ada"])
    })
  )

  test(
    "of HttpLayerRouter has the services of its middleware and of its layer",
    Effect.gen(function* () {
      class Greeting extends Context.Tag("test/Greeting")<Greeting, string>() {}
      const knowing = HttpLayerRouter.middleware<{ provides: User }>()((app) =>
        Effect.flatMap(HttpServerRequest.HttpServerRequest, ({ cookies }) =>
          isSession(cookies["session"])
            ? Effect.provideService(app, User, "ada")
            : HttpServerResponse.text("log in first", { status: 401 })
        )
      )
      const chat = HttpLayerRouter.add(
        "GET",
        "/rooms/:room",
        Effect.gen(function* () {
          const { room } = yield* HttpLayerRouter.schemaPathParams(Schema.Struct({ room: Schema.String }))
          return yield* WebSocketServer.upgrade((socket) =>
            Effect.gen(function* () {
              yield* socket.send(`${yield* Greeting} ${yield* User} in ${room}`)
            })
          )
        })
      ).pipe(Layer.provide(knowing.layer))
      const health = HttpLayerRouter.add("GET", "/healthz", HttpServerResponse.text("ok"))
      const app = HttpLayerRouter.serve(Layer.merge(chat, health), { disableLogger: true, disableListenLog: true })
      const { http, url } = yield* serving(Layer.provide(app, Layer.succeed(Greeting, "good morning")))
      expect(yield* visit(`${url}/rooms/attic`, withSession)).toMatchObject({ first: "good morning ada in attic" })
      const refused = yield* refusedBy(`${url}/rooms/attic`)
      expect(refused).toMatchObject({ _tag: "HandshakeError", status: 401, body: "log in first" })
      const ok = yield* Effect.promise(() => fetch(`${http}/healthz`))
      expect(yield* Effect.promise(() => ok.text())).toBe("ok")
    })
  )

  test(
    "of a router that another one mounts tells the whole URL that the client asked for",
    Effect.gen(function* () {
      const inner = HttpRouter.empty.pipe(
        HttpRouter.get(
          "/chat",
          WebSocketServer.upgradeWith(
            ({ target, url }) => Effect.succeed({ data: [target, url] }),
            (socket, asked) => socket.send([...asked, socket.url].join(" "))
          )
        )
      )
      const { url } = yield* serving(HttpRouter.empty.pipe(HttpRouter.mount("/api", inner), HttpServer.serve()))
      const asked = `${url}/api/chat?room=1`
      expect(yield* visit(asked)).toMatchObject({ first: `/api/chat?room=1 ${asked} ${asked}` })
    })
  )

  test(
    "has the resources of the request as long as its connection lives, and its own scope for itself",
    Effect.gen(function* () {
      const events: Array<string> = []
      const note = (event: string) => Effect.sync(() => void events.push(event))
      const leased = HttpMiddleware.make((app) =>
        Effect.zipRight(
          Effect.acquireRelease(note("request begins"), () => note("request ends")),
          app
        )
      )
      const handler = (socket: WebSocket.WebSocket) =>
        Effect.gen(function* () {
          yield* Effect.acquireRelease(note("handler begins"), () =>
            Effect.flatMap(socket.isOpen, (open) => note(open ? "handler ends, open" : "handler ends"))
          )
          yield* socket.receive
        })
      const { stop, url } = yield* serving(
        HttpRouter.empty.pipe(
          HttpRouter.get("/", WebSocketServer.upgrade(handler)),
          HttpRouter.use(leased),
          HttpServer.serve()
        )
      )
      const socket = yield* WebSocket.connect(url)
      yield* socket.send("enough")
      expect(yield* socket.closed).toMatchObject({ code: 1000, clean: true })
      yield* stop
      expect(events).toEqual(["request begins", "handler begins", "handler ends, open", "request ends"])
    })
  )
})

describe("middleware around a route that upgrades", () => {
  test(
    "refuses with a response of its own, all of which reaches the client",
    Effect.gen(function* () {
      const { url } = yield* serving(
        HttpRouter.empty.pipe(
          HttpRouter.get("/", WebSocketServer.upgrade(greet)),
          HttpRouter.use(authenticated),
          (router) => HttpServer.serve(Effect.provideService(router, User, "nobody"))
        )
      )
      expect(yield* visit(url, withSession)).toMatchObject({ first: "hello ada" })
      const refused = yield* refusedBy(url, { headers: { cookie: "session=guessed" } })
      expect(refused).toMatchObject({ _tag: "HandshakeError", status: 401, body: `{"error":"log in first"}` })
      expect(refused).toMatchObject({ headers: { "x-login": "/login" } })
    })
  )

  for (const [what, handler] of [
    ["ends", ({ receive }: WebSocket.WebSocket) => receive],
    ["fails", ({ receive }: WebSocket.WebSocket) => Effect.zipRight(receive, Effect.fail("no"))],
    ["dies", ({ receive }: WebSocket.WebSocket) => Effect.zipRight(receive, Effect.dieMessage("no"))]
  ] as const) {
    test(
      `that logs and traces sees the request and a 101, when the handler ${what}`,
      Effect.gen(function* () {
        const logged: Array<unknown> = []
        const logger = Logger.make(({ annotations, message }) => {
          const status = annotations.pipe((all) => Array.from(all)).find(([name]) => name === "http.status")
          if (status === undefined) return
          logged.push([...(Array.isArray(message) ? message : [message]), status[1]])
          Deferred.unsafeDone(answered, Exit.void)
        })
        const spans: Array<Tracer.Span> = []
        const answered = yield* Deferred.make<void>()
        const seen = HttpMiddleware.make((app) =>
          Effect.tap(app, () =>
            Effect.flatMap(Effect.currentSpan, (span) => Effect.sync(() => void spans.push(span))).pipe(Effect.orDie)
          )
        )
        const { stop, url } = yield* serving(
          HttpRouter.empty.pipe(
            HttpRouter.get("/chat", WebSocketServer.upgrade(handler)),
            HttpRouter.use(seen),
            HttpServer.serve(HttpMiddleware.logger),
            Layer.provide(Logger.replace(Logger.defaultLogger, logger))
          )
        )
        const socket = yield* WebSocket.connect(`${url}/chat`)
        expect(logged).toEqual([])
        yield* socket.send("enough")
        yield* Deferred.await(answered)
        yield* stop
        expect(logged).toEqual([["Sent HTTP response", 101]])
        expect(spans.map(({ name }) => name)).toEqual(["http.server GET"])
        expect(spans[0]?.attributes.get("http.response.status_code")).toBe(101)
        expect(spans[0]?.attributes.get("url.path")).toBe("/chat")
      })
    )
  }

  test(
    "that changes responses changes the 101 that leaves, once: CORS, cookies of HttpApi",
    Effect.gen(function* () {
      const statuses: Array<number> = []
      const security = HttpApiSecurity.apiKey({ in: "cookie", key: "session" })
      const counting = HttpMiddleware.make((app) =>
        Effect.zipRight(
          HttpApp.appendPreResponseHandler((_, response) =>
            Effect.sync(() => {
              statuses.push(response.status)
              return response
            })
          ),
          app
        )
      )
      const route = WebSocketServer.upgradeWith(
        () => Effect.as(HttpApiBuilder.securitySetCookie(security, "fresh"), { data: undefined }),
        greetYou,
        { cookies: Cookies.unsafeSetAll(Cookies.empty, [["theme", "dark", {}]]) }
      )
      const { stop, url } = yield* serving(
        HttpRouter.empty.pipe(
          HttpRouter.get("/", route),
          HttpRouter.use(counting),
          HttpServer.serve(HttpMiddleware.cors({ allowedOrigins: ["https://pages.example"], credentials: true }))
        )
      )
      const { first, headers } = yield* visit(url)
      expect(first).toBe("hello you")
      expect(headers["access-control-allow-origin"]).toBe("https://pages.example")
      expect(headers["access-control-allow-credentials"]).toBe("true")
      expect(headers["set-cookie"]).toContain("theme=dark")
      expect(headers["set-cookie"]).toContain("session=fresh; HttpOnly; Secure")
      yield* stop
      expect(statuses).toEqual([101])
    })
  )

  test(
    "that rewrites the address, as xForwardedHeaders does, is believed",
    Effect.gen(function* () {
      const { url } = yield* serving(
        HttpRouter.empty.pipe(
          HttpRouter.get(
            "/",
            WebSocketServer.upgrade((socket) => socket.send(JSON.stringify([socket.remoteAddress, socket.url])))
          ),
          HttpServer.serve(HttpMiddleware.xForwardedHeaders)
        )
      )
      const headers = { "x-forwarded-for": "192.0.2.7", "x-forwarded-host": "chat.example" }
      const { first } = yield* visit(url, { headers })
      // The port is that of the proxy, and none of the client's.
      const address = { _tag: "TcpAddress", hostname: "192.0.2.7", port: 0 }
      expect(JSON.parse(String(first))).toEqual([address, "ws://chat.example/"])
    })
  )
})

describe("the 101 of a route", () => {
  test(
    "carries headers and several cookies, of the route and of its decision, and the handler gets the data",
    Effect.gen(function* () {
      const cookies = (...all: ReadonlyArray<readonly [string, string]>) =>
        Cookies.unsafeSetAll(
          Cookies.empty,
          all.map(([name, value]) => [name, value, { httpOnly: true, path: "/" }] as const)
        )
      const route = WebSocketServer.upgradeWith(
        ({ cookies: sent, headers }) =>
          Effect.succeed({
            data: `${sent["session"]} ${headers["x-client"]}`,
            subprotocol: "chat.v1",
            headers: { "x-decision": "yes" },
            cookies: cookies(["session", "renewed"], ["seen", "now"])
          }),
        (socket, data) => socket.send(data),
        { subprotocols: ["chat.v2", "chat.v1"], headers: { "x-route": "chat" }, cookies: cookies(["theme", "dark"]) }
      )
      const { address, url } = yield* serving(HttpRouter.empty.pipe(HttpRouter.get("/", route), HttpServer.serve()))
      const { first, headers, subprotocol } = yield* visit(url, {
        headers: { cookie: "a=b; session=letmein", "x-client": "test" },
        subprotocols: ["chat.v1", "chat.v2"]
      })
      expect([first, subprotocol]).toEqual(["letmein test", "chat.v1"])
      expect(headers).toMatchObject({ "x-route": "chat", "x-decision": "yes" })
      const peer = yield* rawClient(address)
      yield* peer.send(upgradeRequest({ "Sec-WebSocket-Protocol": "chat.v1" }))
      const lines = (yield* peer.head).split("\r\n").filter((line) => /^set-cookie:/i.test(line))
      expect(lines.map((line) => line.toLowerCase())).toEqual([
        "set-cookie: theme=dark; path=/; httponly",
        "set-cookie: session=renewed; path=/; httponly",
        "set-cookie: seen=now; path=/; httponly"
      ])
      yield* peer.destroy
    })
  )

  test(
    "names the subprotocol that the server prefers, or none if the client offers none of its",
    Effect.gen(function* () {
      const route = WebSocketServer.upgrade((socket) => socket.send(socket.subprotocol ?? "none"), {
        subprotocols: ["v3", "v2", "v1"]
      })
      const { url } = yield* serving(HttpRouter.empty.pipe(HttpRouter.get("/", route), HttpServer.serve()))
      for (const [offered, chosen] of [
        [["v1", "v2"], "v2"],
        [["other", "v3"], "v3"],
        [["other"], undefined],
        [undefined, undefined]
      ] as const) {
        const { first, subprotocol } = yield* visit(url, { subprotocols: offered })
        expect([first, subprotocol]).toEqual([chosen ?? "none", chosen])
      }
    })
  )
})

describe("the decision of a route", () => {
  class Teapot extends Schema.TaggedError<Teapot>()("Teapot", {}) {
    [HttpServerRespondable.symbol]() {
      return HttpServerResponse.text("short and stout", { status: 418 })
    }
  }

  for (const [what, decide, status, body] of [
    [
      "a response with headers and a body",
      () =>
        Effect.fail(HttpServerResponse.unsafeJson({ error: "full" }, { status: 503, headers: { "x-why": "full" } })),
      503,
      `{"error":"full"}`
    ],
    ["a response without a body", () => Effect.fail(HttpServerResponse.empty({ status: 403 })), 403, ""],
    ["a redirect", () => Effect.fail(HttpServerResponse.redirect("http://elsewhere.example/")), 302, ""],
    ["an error that can be made into a response", () => Effect.fail(new Teapot()), 418, "short and stout"],
    ["a defect", () => Effect.dieMessage("no database"), 500, "the server failed to decide\n"],
    [
      "a subprotocol that the client didn't offer",
      () => Effect.succeed({ data: undefined, subprotocol: "other" }),
      500,
      expect.stringContaining("RFC 6455 4.2.2")
    ],
    [
      "a header of the handshake itself",
      () => Effect.succeed({ data: undefined, headers: { "sec-websocket-accept": "forged" } }),
      500,
      expect.stringContaining("header of the handshake")
    ]
  ] as const satisfies ReadonlyArray<
    readonly [string, WebSocketServer.Decide<undefined>, status: number, body: unknown]
  >) {
    test(
      `of ${what} is answered with ${status}, ends the connection and no other`,
      Effect.gen(function* () {
        const refusing = WebSocketServer.upgradeWith(decide, greetYou, { subprotocols: ["chat.v1"] })
        const { address, connections, url } = yield* serving(
          HttpRouter.empty.pipe(
            HttpRouter.get("/", refusing),
            HttpRouter.get("/open", WebSocketServer.upgrade(greetYou)),
            HttpServer.serve(),
            Layer.provide(Logger.remove(Logger.defaultLogger))
          )
        )
        expect(yield* refusedBy(url, { subprotocols: ["chat.v1"] })).toMatchObject({
          _tag: "HandshakeError",
          status,
          body
        })
        const peer = yield* rawClient(address)
        yield* peer.send(upgradeRequest())
        // It has nothing to keep alive, and says so.
        expect((yield* peer.head).toLowerCase()).toContain("\r\nconnection: close\r\n")
        yield* peer.ended
        yield* peer.end
        expect(yield* visit(`${url}/open`)).toMatchObject({ first: "hello you" })
        while ((yield* connections) > 0) yield* Effect.sleep("10 millis")
      })
    )
  }

  type App = HttpApp.Default<never, Network>

  for (const [what, serve] of [
    ["a router", (app: App) => HttpServer.serve(HttpRouter.empty.pipe(HttpRouter.get("/", app)))],
    // The platform runs such an app uninterruptibly.
    ["no router", (app: App) => HttpServer.serve(app)]
  ] as const) {
    test(
      `that hangs is interrupted and answered with 503, in ${what}`,
      Effect.gen(function* () {
        const interrupted = yield* Deferred.make<void>()
        const hangs = Effect.onInterrupt(Effect.never, () => Deferred.succeed(interrupted, undefined))
        const route = WebSocketServer.upgradeWith(() => hangs, greetYou, { handshakeTimeout: "50 millis" })
        const { url } = yield* serving(serve(Effect.orDie(route)))
        expect(yield* refusedBy(url)).toMatchObject({ _tag: "HandshakeError", status: 503 })
        yield* Deferred.await(interrupted)
      })
    )
  }
})
