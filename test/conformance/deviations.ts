// Where we differ from what an RFC says, asks for or allows, and why.

export interface Deviation {
  readonly section: string
  /** What the document says, in our words. */
  readonly says: string
  readonly ours: string
  readonly why: string
}

/** Something that a MUST or a SHOULD of an RFC asks for, and that we don't do. */
export const deviations: ReadonlyArray<Deviation> = [
  {
    section: "RFC 9112 3.2.2, RFC 6455 4.1",
    says: "A server must accept a request target in absolute form (`GET http://host/path`).",
    ours: "It is refused with 400.",
    why: "Only requests to proxies have that form, and no WebSocket client sends it to a server. It names a second host beside the Host field, which origin checks and routing in front of us judge by."
  },
  {
    section: "RFC 9110 2.5, RFC 6455 4.2.1",
    says: "A request of a higher minor version, HTTP/1.2 and up, should be processed as HTTP/1.1.",
    ours: "It is refused with 505.",
    why: "HTTP/1 has no minor version above 1, so whoever names one is no WebSocket client."
  },
  {
    section: "RFC 9112 2.2",
    says: "A server should ignore an empty line before a request.",
    ours: "It is refused with 400.",
    why: "Old clients sent it behind the body of the request before; an upgrade request is the first on its connection."
  },
  {
    section: "RFC 6455 4.1",
    says: "A client must have no more than one connection to an IP address in its opening handshake; others must wait.",
    ours: "Connections are opened as the application asks for them.",
    why: "The rule is for browsers, which run other people's scripts; here the program decides, and bounds it where it wants to (`Effect.forEach` with `concurrency`, a semaphore). Other processes couldn't be waited for in any case."
  },
  {
    section: "RFC 6455 7.2.3",
    says: "A client should wait a random and growing time before it connects again.",
    ours: "The library doesn't connect again by itself.",
    why: "That is `Effect.retry` with a `Schedule`, which is the application's to choose."
  }
]

/** What a document leaves open, and how it is here: stricter, or laxer, than others may expect. */
export const choices: ReadonlyArray<Deviation> = [
  {
    section: "RFC 9112 2.2",
    says: "A recipient may take a lone LF for the end of a line.",
    ours: "It is refused, in requests and in responses.",
    why: "What two parsers read in two ways is how requests are smuggled past a proxy (RFC 9112 11.2). So are folded lines, control characters in values, and space before a colon."
  },
  {
    section: "RFC 9110 9.3.1",
    says: "A GET may have a body that means nothing.",
    ours: "A request with one is refused with 400.",
    why: "Its bytes would be read as frames by us and as a body by a proxy."
  },
  {
    section: "RFC 4648 3.5",
    says: "A decoder of base64 may accept digits whose unused bits are set.",
    ours: "A Sec-WebSocket-Key like that is refused with 400.",
    why: "Only one spelling of 16 bytes is left, and every client sends that one."
  },
  {
    section: "RFC 6455 4.1",
    says: "A client must wait for the response before it sends frames; what a server does if it doesn't is left open.",
    ours: "Frames behind the request are kept, and read after the 101.",
    why: "They can't be told from frames sent a moment later."
  },
  {
    section: "RFC 9112 4",
    says: "A status line has a space before its reason phrase, even if that is empty.",
    ours: "A client accepts a status line that ends behind the status.",
    why: "Servers in use send it, and nothing hangs on it."
  },
  {
    section: "RFC 9110 15.2, 15.4, 11",
    says: "A client may ignore unexpected interim responses, and may follow redirects and answer challenges.",
    ours: "Up to 16 interim responses are passed over. A redirect or a challenge is a `HandshakeError` with status and headers.",
    why: "Credentials must not follow a redirect unasked; the application knows whether it trusts the new address."
  },
  {
    section: "RFC 6455 5.5.3",
    says: "An endpoint may answer only the most recent ping.",
    ours: "Every ping is answered, in order, while the peer reads; of pings that come while it doesn't only the last is.",
    why: "A peer that sends pings and reads nothing would fill our memory with pongs."
  },
  {
    section: "RFC 6455 5.2, 10.4",
    says: "Lengths up to 2^63 - 1 are legal; an implementation may have limits.",
    ours: "Frame size, message size and fragments per message are limited, and answered with 1009 on the declared length; a length above 2^53 - 1 always is.",
    why: "Each limit is an option with a finite default. Above 2^53 - 1 JavaScript's numbers don't tell every length apart."
  },
  {
    section: "RFC 6455 7.1.1, 7.1.7",
    says: "The server closes TCP first, the client should wait for it, and may give up after a reasonable time.",
    ours: "After a clean closing handshake the server sends FIN and the client waits for it; after a failure whoever failed the connection sends FIN. Then reading goes on, ignoring what comes, until the peer's FIN or `closeTimeout`.",
    why: "To close with bytes unread would be a reset, and might take our Close away from the peer."
  },
  {
    section: "RFC 6455 7.4.1",
    says: "1005 stands for a Close without a code.",
    ours: "It counts as a clean end: a stream of messages ends and doesn't fail.",
    why: "It is what `close()` without arguments leads to in a browser."
  },
  {
    section: "RFC 6455 7.4.2",
    says: "1016 to 2999 are for this protocol and its extensions, to be registered.",
    ours: "They are refused with 1002, until one is registered; 1012 to 1014 are accepted from the registry.",
    why: "No extension that we negotiate defines one."
  },
  {
    section: "RFC 6455 8.1",
    says: "A text that isn't UTF-8 fails the connection; when is left open.",
    ours: "At the first byte that no valid text could have, while the frame still comes. A close reason is checked when its frame is whole, and a compressed message when it is whole.",
    why: "A Close is at most 125 bytes; what a compressed message says is known only after it was inflated."
  }
]
