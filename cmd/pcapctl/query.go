package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strings"

	"github.com/jmespath/go-jmespath"

	"pcapctl/capture/fault"
)

// errQuery is a query that is well-formed and cannot be applied to the result.
var errQuery = errors.New("--query cannot be applied to this result")

// search applies a query to a result.
func search(expr *jmespath.JMESPath, v any) (found any, err error) {
	text, err := marshal(v)
	if err != nil {
		return nil, err
	}
	var tree any
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	if err := dec.Decode(&tree); err != nil {
		return nil, err
	}
	numbers := exactNumbersOf(tree)
	// go-jmespath panics when contains() compares objects or lists.
	defer func() {
		if r := recover(); r != nil {
			found, err = nil, notApplicable(r)
		}
	}()
	if found, err = expr.Search(replaceNumbers(tree, numbers.toFloat)); err != nil {
		return nil, notApplicable(err)
	}
	return replaceNumbers(found, numbers.fromFloat), nil
}

func notApplicable(why any) error {
	return &fault.Error{Class: fault.Invalid, Message: fmt.Sprintf("%v: %v", errQuery, why), Err: errQuery}
}

// exactNumbers carries integers through a query without rounding them.
// go-jmespath knows float64 only, which does not hold every integer from 2^53
// on. So each of these integers gets a float64 of its own: the nearest, or the
// next larger one that is still free. They compare and sort as the integers do,
// and where one of them is in the answer the integer is put back. What a query
// computes itself (sum, avg, to_string) and the numbers that are written in it
// are float64 all the same.
type exactNumbers struct {
	floats map[string]float64
	texts  map[float64]json.Number
}

// firstInexact is where float64 begins to leave out integers.
const firstInexact = 1 << 53

func exactNumbersOf(tree any) exactNumbers {
	var large []*big.Int
	replaceNumbers(tree, func(n any) any {
		if i, ok := largeInteger(n); ok {
			large = append(large, i)
		}
		return n
	})
	slices.SortFunc(large, (*big.Int).Cmp)
	e := exactNumbers{floats: map[string]float64{}, texts: map[float64]json.Number{}}
	last := 0.0
	for _, i := range large {
		text := i.String()
		if _, known := e.floats[text]; known {
			continue
		}
		f, _ := new(big.Float).SetInt(i).Float64()
		if f <= last {
			f = math.Nextafter(last, math.Inf(1))
		}
		e.floats[text], e.texts[f], last = f, json.Number(text), f
	}
	return e
}

// largeInteger is the magnitude of a number that may not be exact as a float64.
func largeInteger(n any) (*big.Int, bool) {
	text, ok := n.(json.Number)
	if !ok {
		return nil, false
	}
	i, ok := new(big.Int).SetString(strings.TrimPrefix(string(text), "-"), 10)
	return i, ok && i.Cmp(big.NewInt(firstInexact)) >= 0
}

// toFloat makes the float64 of a number of the tree.
func (e exactNumbers) toFloat(n any) any {
	text, ok := n.(json.Number)
	if !ok {
		return n
	}
	magnitude, negative := strings.CutPrefix(string(text), "-")
	f, large := e.floats[magnitude]
	if !large {
		f, _ = text.Float64() // the tree comes from encoding/json, which wrote a float64 or an integer
		return f
	}
	if negative {
		f = -f
	}
	return f
}

// fromFloat gives back the integer that a float64 stands for.
func (e exactNumbers) fromFloat(n any) any {
	f, ok := n.(float64)
	if !ok {
		return n
	}
	text, large := e.texts[math.Abs(f)]
	switch {
	case !large:
		return f
	case f < 0:
		return "-" + text
	default:
		return text
	}
}

// replaceNumbers gives a copy of a JSON tree in which every value that is not a
// list or an object was replaced.
func replaceNumbers(tree any, replace func(any) any) any {
	switch t := tree.(type) {
	case map[string]any:
		m := make(map[string]any, len(t))
		for k, v := range t {
			m[k] = replaceNumbers(v, replace)
		}
		return m
	case []any:
		list := make([]any, len(t))
		for i, v := range t {
			list[i] = replaceNumbers(v, replace)
		}
		return list
	default:
		return replace(tree)
	}
}
