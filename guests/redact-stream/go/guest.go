// Redacts a JSON field in event streams and JSON requests and responses while they are sent: the value of each field of
// that name, if it is a string, becomes "***". The configuration is the field's name, "ssn" by default.
//
// A body can be split anywhere: a few bytes of state are kept from one piece to the next. So each piece is passed
// on at once.
package main

import (
	"bytes"
	"unsafe"
)

//go:wasmimport http_handler enable_features
func enableFeatures(features uint32) uint32

//go:wasmimport http_handler get_config
func getConfig(buf unsafe.Pointer, limit uint32) uint32

//go:wasmimport http_handler get_header_values
func getHeaderValues(kind uint32, name unsafe.Pointer, nameLen uint32, buf unsafe.Pointer, limit uint32) uint64

//go:wasmimport http_handler read_body
func readBody(kind uint32, buf unsafe.Pointer, limit uint32) uint64

//go:wasmimport http_handler write_body
func writeBody(kind uint32, body unsafe.Pointer, bodyLen uint32)

const (
	request        = 0
	response       = 1
	bufferResponse = 2
)

var (
	field = []byte("ssn")
	piece [16 * 1024]byte
)

type state int

const (
	outside state = iota
	inString
	escape
	afterName
	beforeValue
	value
	valueEscape
)

// scanner keeps the position within the JSON at the end of a piece.
type scanner struct {
	state state
	// The number of bytes of a string that match the field's name so far; -1 if they don't.
	matched int
}

func isSpace(char byte) bool { return char == ' ' || char == '\t' || char == '\r' }

func (s *scanner) next(char byte) state {
	switch s.state {
	case inString:
		switch {
		case char == '\\':
			s.matched = -1
			return escape
		case char == '"' && s.matched == len(field):
			return afterName
		case char == '"':
			return outside
		case s.matched >= 0 && s.matched < len(field) && field[s.matched] == char:
			s.matched++
		default:
			s.matched = -1
		}
		return inString
	case escape:
		return inString
	case value:
		switch char {
		case '\\':
			return valueEscape
		case '"':
			return outside
		}
		return value
	case valueEscape:
		return value
	case afterName:
		if isSpace(char) {
			return afterName
		}
		if char == ':' {
			return beforeValue
		}
	case beforeValue:
		if isSpace(char) {
			return beforeValue
		}
		if char == '"' {
			return value
		}
	}
	s.matched = 0
	if char == '"' {
		return inString
	}
	return outside
}

func (s *scanner) redact(out, in []byte) []byte {
	for _, char := range in {
		before := s.state
		// JSON strings don't continue on the next line.
		if s.state = outside; char != '\n' {
			s.state = before
			s.state = s.next(char)
		}
		switch {
		case s.state == value && before == beforeValue:
			out = append(out, `"***`...)
		case s.state != value && s.state != valueEscape:
			out = append(out, char)
		}
	}
	return out
}

func init() {
	if size := getConfig(unsafe.Pointer(&piece), uint32(len(piece))); size > 0 {
		field = bytes.Clone(piece[:size])
	}
	enableFeatures(bufferResponse)
}

func main() {}

func redactBody(kind uint32) {
	name := []byte("content-type")
	size := uint32(len(piece))
	found := getHeaderValues(kind, unsafe.Pointer(&name[0]), uint32(len(name)), unsafe.Pointer(&piece), size)
	values := piece[:min(uint32(found), size)]
	if !bytes.HasPrefix(values, []byte("text/event-stream")) && !bytes.HasPrefix(values, []byte("application/json")) {
		return
	}
	var s scanner
	out := make([]byte, 0, 2*len(piece))
	for {
		read := readBody(kind, unsafe.Pointer(&piece), uint32(len(piece)))
		if out = s.redact(out[:0], piece[:uint32(read)]); len(out) > 0 {
			writeBody(kind, unsafe.Pointer(&out[0]), uint32(len(out)))
		}
		if read>>32 != 0 {
			return
		}
	}
}

//go:wasmexport handle_request
func handleRequest() int64 {
	redactBody(request)
	return 1
}

//go:wasmexport handle_response
func handleResponse(_, isError uint32) {
	if isError == 0 {
		redactBody(response)
	}
}
