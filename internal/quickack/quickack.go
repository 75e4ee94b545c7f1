// Package quickack makes connections whose peer is not kept waiting for acknowledgements.
//
// Python's urllib3, and so every Azure client in Python, sends a request that has a body in two pieces and,
// through a proxy, leaves Nagle's algorithm on: the second piece is sent when the first is acknowledged, and
// that the receiving kernel puts off by 40 ms (RFC 1122, 4.2.3.2). So each such request would take 40 ms more.
package quickack
