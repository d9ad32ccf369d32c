// Package testwine runs Windows programs in tests, by Wine on Linux: each test, network namespace and test program has
// a Windows of its own, which ends with it. What this shows of a real Windows, and what not, is in docs/windows.md.
package testwine
