// The Go project's greplogs as of September 2026, as a peer.
module greplogsnewest.test

go 1.26.0

require golang.org/x/build v0.0.0-20260918145456-c0ee0fbd16a3

require (
	github.com/kballard/go-shellquote v0.0.0-20180428030007-95032a82bc51 // indirect
	golang.org/x/sys v0.48.0 // indirect
	golang.org/x/term v0.46.0 // indirect
)
