// Checks manifests against the newest Kubernetes: `newest FILE...` prints what is wrong, a line each.
//
// Kinds of Kubernetes are decoded strictly, so that a field that does not exist is an error. A
// definition of custom resources is validated as an API server does it: structure, rules (which are
// compiled, and whose cost is estimated), columns, subresources. Resources of a definition that came
// before are validated against it: unknown fields, types, rules. Other kinds are only named.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/install"
	v1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	schemavalidation "k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/yaml"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
)

// resource is what a definition says of one version of a kind.
type resource struct {
	structural *schema.Structural
	types      schemavalidation.SchemaValidator
	rules      *cel.Validator
}

type checker struct {
	scheme  *runtime.Scheme
	decoder runtime.Decoder
	custom  map[string]resource
}

func main() {
	scheme := runtime.NewScheme()
	install.Install(scheme)
	if err := clientscheme.AddToScheme(scheme); err != nil {
		panic(err)
	}
	factory := serializer.NewCodecFactory(scheme, serializer.EnableStrict)
	check := checker{scheme, factory.UniversalDeserializer(), map[string]resource{}}
	wrong := 0
	for _, name := range os.Args[1:] {
		problems, err := check.file(name)
		if err != nil {
			problems = append(problems, err)
		}
		for _, problem := range problems {
			fmt.Printf("%s: %v\n", name, problem)
		}
		wrong += len(problems)
	}
	if wrong > 0 {
		os.Exit(1)
	}
}

func (c *checker) file(name string) ([]error, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var problems []error
	documents := yaml.NewYAMLReader(bufio.NewReader(file))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return problems, nil
		}
		if err != nil {
			return problems, err
		}
		found, err := c.document(document)
		if err != nil {
			return problems, err
		}
		problems = append(problems, found...)
	}
}

func (c *checker) document(document []byte) ([]error, error) {
	text, err := yaml.ToJSON(document)
	if err != nil {
		return nil, err
	}
	object := &unstructured.Unstructured{}
	// Whole numbers must stay whole numbers, as they do in an API server.
	if err := json.Unmarshal(text, &object.Object); err != nil {
		return nil, err
	}
	if len(object.Object) == 0 {
		return nil, nil
	}
	kind := object.GroupVersionKind()
	if known, is := c.custom[kind.String()]; is {
		fmt.Fprintf(os.Stderr, "checked by its definition: %s\n", kind)
		return known.check(object), nil
	}
	if !c.scheme.Recognizes(kind) {
		fmt.Fprintf(os.Stderr, "not checked: %s\n", kind)
		return nil, nil
	}
	decoded, _, err := c.decoder.Decode(document, nil, nil)
	if err != nil {
		return []error{err}, nil
	}
	fmt.Fprintf(os.Stderr, "checked: %s\n", kind)
	if definition, is := decoded.(*v1.CustomResourceDefinition); is {
		return c.definition(definition)
	}
	return nil, nil
}

func (c *checker) definition(definition *v1.CustomResourceDefinition) ([]error, error) {
	v1.SetDefaults_CustomResourceDefinition(definition)
	v1.SetDefaults_CustomResourceDefinitionSpec(&definition.Spec)
	internal := &apiextensions.CustomResourceDefinition{}
	if err := c.scheme.Convert(definition, internal, nil); err != nil {
		return nil, err
	}
	var problems []error
	for _, problem := range validation.ValidateCustomResourceDefinition(context.Background(), internal) {
		problems = append(problems, problem)
	}
	for _, version := range definition.Spec.Versions {
		known, err := newResource(internal, version.Name)
		if err != nil {
			return problems, err
		}
		kind := fmt.Sprintf("%s/%s, Kind=%s", definition.Spec.Group, version.Name, definition.Spec.Names.Kind)
		c.custom[kind] = known
	}
	return problems, nil
}

func newResource(definition *apiextensions.CustomResourceDefinition, version string) (resource, error) {
	found, err := apiextensions.GetSchemaForVersion(definition, version)
	if err != nil {
		return resource{}, err
	}
	structural, err := schema.NewStructural(found.OpenAPIV3Schema)
	if err != nil {
		return resource{}, err
	}
	types, _, err := schemavalidation.NewSchemaValidator(found.OpenAPIV3Schema)
	if err != nil {
		return resource{}, err
	}
	return resource{structural, types, cel.NewValidator(structural, true, celconfig.PerCallLimit)}, nil
}

func (r resource) check(object *unstructured.Unstructured) []error {
	var problems []error
	options := schema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true}
	for _, path := range pruning.PruneWithOptions(object.Object, r.structural, true, options) {
		problems = append(problems, fmt.Errorf("unknown field %s", path))
	}
	for _, problem := range schemavalidation.ValidateCustomResource(nil, object.Object, r.types) {
		problems = append(problems, problem)
	}
	found, _ := r.rules.Validate(
		context.Background(), nil, r.structural, object.Object, nil, celconfig.RuntimeCELCostBudget)
	for _, problem := range found {
		problems = append(problems, problem)
	}
	return problems
}
