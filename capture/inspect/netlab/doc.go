// Package netlab gives tests captures whose cause is known: conversations of the
// kernel's own TCP and UDP between two network namespaces, over a wire that loses,
// delays, reorders or refuses what it is told to.
//
// A kernel may lack the netem queueing discipline, and netem would not say which
// packet it dropped. So the wire is a program: each namespace has a TAP interface,
// and a [Wire] carries their frames by rules. It also records, at one of its ends,
// what that end's interface sent and received.
//
// [Scenes] is the table of the scenes; [Read] is what tshark says of a capture.
package netlab
