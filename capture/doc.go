// Package capture is the life of one capture: a plan, the session that carries
// it out, and the result.
//
// A valid config (package request) and a source as planned (package source) make
// a Plan, which is plain data and has nothing open. Start makes what the plan
// says, in an order in which nothing is lost and a refusal leaves nothing
// behind; the Session brings packets from the source into files (package save)
// and files into blobs (package deliver) until a limit, a signal or a fault ends
// it; the Result says truthfully what came of it.
package capture
