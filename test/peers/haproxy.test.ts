import { haproxy } from "../fixtures/reverseProxy.js"
import { forwardingSuite } from "../suites/forwarding.js"
import { reverseProxySuite } from "../suites/reverseProxy.js"

reverseProxySuite("HAProxy", haproxy, 503)
forwardingSuite("HAProxy", haproxy, "h2")
