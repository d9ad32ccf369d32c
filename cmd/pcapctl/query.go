package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/big"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/jmespath/go-jmespath"
	"go.yaml.in/yaml/v3"

	"pcapctl/capture/fault"
)

// errQuery is a query that is well-formed and cannot be applied to the result.
var errQuery = errors.New("--query cannot be applied to this result")

// notJMESPath is the error of a text that is not a valid query. az takes a word
// between backticks for a text, which the JMESPath of today does not.
func notJMESPath(flag, text string, err error) error {
	hint := ""
	if strings.Contains(text, "`") {
		hint = "; between backticks stands JSON: write a text in single quotes, such as [?name=='web']"
	}
	return fault.Errorf(fault.Invalid, "%s %s is not a valid JMESPath expression: %w%s", flag, fault.Quote(text), err, hint)
}

// search applies a query to a result. The query sees the result as it is
// printed, and as az prints the service's: the members of properties beside it as
// well, and a list without the object around it. What it finds is given as it is
// printed.
func search(expr *jmespath.JMESPath, query string, v any) (found any, err error) {
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
	printed := flatForms{}
	tree = printed.add(replaceNumbers(tree, numbers.toFloat))
	for i, root := range rootsOf(query, v, tree) {
		one, oneErr := searchOne(expr, root)
		if i == 0 || one != nil && oneErr == nil {
			found, err = one, oneErr
		}
		if found != nil {
			break
		}
	}
	if err != nil {
		return nil, notApplicable(err)
	}
	return replaceNumbers(printed.remove(found), numbers.fromFloat), nil
}

// rootsOf are the forms of a result to apply a query to, the likelier first: of a
// list the items alone, as az prints it, or the object with the member value.
func rootsOf(query string, v, tree any) []any {
	whole, isObject := tree.(map[string]any)
	if _, isList := v.(lister); !isList || !isObject {
		return []any{tree}
	}
	if namesValue.MatchString(query) {
		return []any{tree, whole["value"]}
	}
	return []any{whole["value"], tree}
}

// namesValue finds the member of the object around a list in a query.
var namesValue = regexp.MustCompile(`\bvalue\b`)

// searchOne applies a query to one form of a result.
func searchOne(expr *jmespath.JMESPath, tree any) (found any, err error) {
	// go-jmespath panics when contains() compares objects or lists.
	defer func() {
		if r := recover(); r != nil {
			found, err = nil, fmt.Errorf("%v", r)
		}
	}()
	return expr.Search(tree)
}

// flatForms are the resources of a tree to which the members of their properties
// were added, by the address of the object that has them, as they are printed.
type flatForms map[uintptr]map[string]any

// add gives the tree with the members of properties beside properties as well,
// and the resource group, which az adds.
func (f flatForms) add(tree any) any {
	switch t := tree.(type) {
	case map[string]any:
		for name, v := range t {
			t[name] = f.add(v)
		}
		inner, ok := t["properties"].(map[string]any)
		if !ok {
			return t
		}
		flat := maps.Clone(inner)
		if id, ok := t["id"].(string); ok {
			if parts := strings.Split(id, "/"); len(parts) > 4 {
				flat["resourceGroup"] = parts[4]
			}
		}
		maps.Copy(flat, t)
		f[addressOf(flat)] = t
		return flat
	case []any:
		for i, v := range t {
			t[i] = f.add(v)
		}
	}
	return tree
}

// remove gives a part of the tree as it is printed.
func (f flatForms) remove(tree any) any {
	switch t := tree.(type) {
	case map[string]any:
		if printed, ok := f[addressOf(t)]; ok {
			t = printed
		}
		plain := make(map[string]any, len(t))
		for name, v := range t {
			plain[name] = f.remove(v)
		}
		return plain
	case []any:
		plain := make([]any, len(t))
		for i, v := range t {
			plain[i] = f.remove(v)
		}
		return plain
	}
	return tree
}

func addressOf(m map[string]any) uintptr { return reflect.ValueOf(m).Pointer() }

// findsNothing tells whether a query's answer is null, or has nothing but null in
// it.
func findsNothing(found any) bool {
	switch t := found.(type) {
	case nil:
		return true
	case map[string]any:
		for _, v := range t {
			if !findsNothing(v) {
				return false
			}
		}
		return len(t) > 0
	case []any:
		return len(t) > 0 && !slices.ContainsFunc(t, func(v any) bool { return !findsNothing(v) })
	}
	return false
}

// nothingFound says that a query has found nothing in a result, and what there is.
func nothingFound(query string, v any) string {
	why := "--query " + fault.Quote(query) + " gives null: the result has nothing there"
	if l, ok := v.(lister); ok {
		if reflect.ValueOf(l.items()).Len() == 0 {
			return ""
		}
		return why + "; it is a list: [].name, as az prints it, or value[].name"
	}
	node, err := ordered(v)
	if err != nil || node.Kind != yaml.MappingNode {
		return why
	}
	var names []string
	for i := 0; i+1 < len(node.Content); i += 2 {
		names = append(names, node.Content[i].Value)
	}
	return why + "; its members are " + strings.Join(names, ", ")
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
