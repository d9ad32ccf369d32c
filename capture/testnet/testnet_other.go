//go:build !linux

// Package testnet gives tests networks of their own, on Linux.
package testnet
