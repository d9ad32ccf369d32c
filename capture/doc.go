// Package capture is what pcapctl does: it turns a request into a valid
// session, captures packets until a limit, a signal or a fault ends it, and
// says truthfully what came of it.
//
// The way of one session is Request (as written) → Config (valid, defaults
// filled in) → Run (sockets and files) → Result. Everything up to Config is
// judged as text; the machine is touched only from Run on.
package capture
