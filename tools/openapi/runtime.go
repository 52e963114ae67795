// Package openapi is where clients of the API are generated and compiled. What a generated client needs is imported here,
// so that the module lists it.
package openapi

import _ "github.com/oapi-codegen/runtime" // what every generated client imports
