package main

// The http-wasm HTTP handler ABI for Go 1.24 and later: https://http-wasm.io/http-handler-abi/
//
// A single file without dependencies, for any host. Copy it into your module. The guest itself exports two functions:
//
//	//go:wasmexport handle_request
//	func handleRequest() uint64 { return next(0) }
//
//	//go:wasmexport handle_response
//	func handleResponse(reqCtx, isError uint32) {}
//
// Put initialisation into `func init()`: in a library, `main` is never called.

import (
	"bytes"
	"unsafe"
)

// Kinds of headers. The first two are also kinds of bodies.
const (
	request uint32 = iota
	response
	requestTrailers
	responseTrailers
)

// Features, to be combined with |.
const (
	bufferRequest  uint32 = 1
	bufferResponse uint32 = 2
	trailers       uint32 = 4
)

// Log levels.
const (
	debug int32 = iota - 1
	info
	warn
	fail
)

//go:wasmimport http_handler enable_features
func enableFeatures(features uint32) uint32

//go:wasmimport http_handler get_config
func abiGetConfig(buf unsafe.Pointer, limit uint32) uint32

//go:wasmimport http_handler log
func abiLog(level int32, message unsafe.Pointer, messageLen uint32)

//go:wasmimport http_handler log_enabled
func abiLogEnabled(level int32) uint32

//go:wasmimport http_handler get_method
func abiGetMethod(buf unsafe.Pointer, limit uint32) uint32

//go:wasmimport http_handler set_method
func abiSetMethod(method unsafe.Pointer, methodLen uint32)

//go:wasmimport http_handler get_uri
func abiGetURI(buf unsafe.Pointer, limit uint32) uint32

//go:wasmimport http_handler set_uri
func abiSetURI(uri unsafe.Pointer, uriLen uint32)

//go:wasmimport http_handler get_protocol_version
func abiGetProtocolVersion(buf unsafe.Pointer, limit uint32) uint32

//go:wasmimport http_handler get_source_addr
func abiGetSourceAddr(buf unsafe.Pointer, limit uint32) uint32

//go:wasmimport http_handler get_header_names
func abiGetHeaderNames(kind uint32, buf unsafe.Pointer, limit uint32) uint64

//go:wasmimport http_handler get_header_values
func abiGetHeaderValues(kind uint32, name unsafe.Pointer, nameLen uint32, buf unsafe.Pointer, limit uint32) uint64

//go:wasmimport http_handler set_header_value
func abiSetHeaderValue(kind uint32, name unsafe.Pointer, nameLen uint32, value unsafe.Pointer, valueLen uint32)

//go:wasmimport http_handler add_header_value
func abiAddHeaderValue(kind uint32, name unsafe.Pointer, nameLen uint32, value unsafe.Pointer, valueLen uint32)

//go:wasmimport http_handler remove_header
func abiRemoveHeader(kind uint32, name unsafe.Pointer, nameLen uint32)

//go:wasmimport http_handler read_body
func abiReadBody(kind uint32, buf unsafe.Pointer, limit uint32) uint64

//go:wasmimport http_handler write_body
func abiWriteBody(kind uint32, body unsafe.Pointer, bodyLen uint32)

// statusCode is the response's status.
//
//go:wasmimport http_handler get_status_code
func statusCode() uint32

//go:wasmimport http_handler set_status_code
func setStatusCode(status uint32)

// next passes the request to the next handler; handleResponse gets reqCtx.
func next(reqCtx uint32) uint64 { return uint64(reqCtx)<<32 | 1 }

// stop answers the request with the response that the guest has set.
func stop() uint64 { return 0 }

// config is the guest's configuration.
func config() []byte { return value(abiGetConfig) }

func log(level int32, message string) { abiLog(level, data(message), uint32(len(message))) }

// logEnabled reports whether messages of this level are logged.
func logEnabled(level int32) bool { return abiLogEnabled(level) != 0 }

func method() string { return string(value(abiGetMethod)) }

func setMethod(method string) { abiSetMethod(data(method), uint32(len(method))) }

// uri is the path and query, percent-encoded.
func uri() string { return string(value(abiGetURI)) }

func setURI(uri string) { abiSetURI(data(uri), uint32(len(uri))) }

// protocolVersion is HTTP/1.1 or similar.
func protocolVersion() string { return string(value(abiGetProtocolVersion)) }

// sourceAddr is the client's IP:PORT, or empty.
func sourceAddr() string { return string(value(abiGetSourceAddr)) }

// headerNames are the names of all headers, in lower case.
func headerNames(kind uint32) []string {
	return values(func(buf unsafe.Pointer, limit uint32) uint64 { return abiGetHeaderNames(kind, buf, limit) })
}

// headers are the values of all headers with this name.
func headers(kind uint32, name string) []string {
	return values(func(buf unsafe.Pointer, limit uint32) uint64 {
		return abiGetHeaderValues(kind, data(name), uint32(len(name)), buf, limit)
	})
}

// header is the only value of a header; false if there is none, or more than one.
func header(kind uint32, name string) (string, bool) {
	values := headers(kind, name)
	if len(values) != 1 {
		return "", false
	}
	return values[0], true
}

func setHeader(kind uint32, name, value string) {
	abiSetHeaderValue(kind, data(name), uint32(len(name)), data(value), uint32(len(value)))
}

func addHeader(kind uint32, name, value string) {
	abiAddHeaderValue(kind, data(name), uint32(len(name)), data(value), uint32(len(value)))
}

func removeHeader(kind uint32, name string) { abiRemoveHeader(kind, data(name), uint32(len(name))) }

// readBody continues where the last call stopped. It returns the number of bytes and whether the body has ended; buf is
// filled completely except at the end, and must not be empty.
func readBody(kind uint32, buf []byte) (int, bool) {
	result := abiReadBody(kind, unsafe.Pointer(unsafe.SliceData(buf)), uint32(len(buf)))
	return int(uint32(result)), result>>32 != 0
}

// body is the entire body; false if it is longer than limit.
func body(kind uint32, limit int) ([]byte, bool) {
	var all []byte
	buf := make([]byte, 16*1024)
	for {
		n, end := readBody(kind, buf)
		if all = append(all, buf[:n]...); len(all) > limit {
			return nil, false
		}
		if end {
			return all, true
		}
	}
}

// writeBody replaces the body on the first call, and appends to it on later ones.
func writeBody(kind uint32, body []byte) {
	abiWriteBody(kind, unsafe.Pointer(unsafe.SliceData(body)), uint32(len(body)))
}

func data(text string) unsafe.Pointer { return unsafe.Pointer(unsafe.StringData(text)) }

// value calls get again with a larger buffer if the value didn't fit.
func value(get func(unsafe.Pointer, uint32) uint32) []byte {
	buf := make([]byte, 512)
	for {
		n := get(unsafe.Pointer(unsafe.SliceData(buf)), uint32(len(buf)))
		if int(n) <= len(buf) {
			return buf[:n]
		}
		buf = make([]byte, n)
	}
}

func values(get func(unsafe.Pointer, uint32) uint64) []string {
	all := value(func(buf unsafe.Pointer, limit uint32) uint32 { return uint32(get(buf, limit)) })
	var list []string
	for len(all) > 0 {
		end := bytes.IndexByte(all, 0)
		list, all = append(list, string(all[:end])), all[end+1:]
	}
	return list
}
