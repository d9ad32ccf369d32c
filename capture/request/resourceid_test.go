package request

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	testVM      = "/subscriptions/s1/resourceGroups/rg1/providers/Microsoft.Compute/virtualMachines/vm1"
	testAccount = "/subscriptions/s1/resourceGroups/rg1/providers/Microsoft.Storage/storageAccounts/pcstore"
)

func TestParseResourceID(t *testing.T) {
	got, err := ParseResourceID(testVM)
	if err != nil {
		t.Fatal(err)
	}
	want := ResourceID{Subscription: "s1", ResourceGroup: "rg1", Kind: "Microsoft.Compute/virtualMachines", Name: "vm1", id: testVM}
	if got != want || !got.Equal(want) || got.String() != testVM || got.IsZero() {
		t.Errorf("got %+v", got)
	}
	if left := got.Placeholders(); left != nil {
		t.Errorf("placeholders %q", left)
	}
	got, err = ParseResourceID("/subscriptions/{subscriptionId}/resourceGroups/my-{group}/providers/a/b/c(1)_é")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"{subscriptionId}", "{group}"}, got.Placeholders()); diff != "" {
		t.Error(diff)
	}
}

func TestParseVM(t *testing.T) {
	for _, good := range []string{
		testVM,
		strings.ToLower(testVM),
		strings.ToUpper(testVM),
		"/subscriptions/{subscriptionId}/resourceGroups/{resourceGroupName}/providers/Microsoft.compute/virtualMachine/vm1",
	} {
		if id, err := parseVM(good); err != nil || id.String() != good {
			t.Errorf("%s: %v", good, err)
		}
	}
	for bad, says := range map[string]string{
		"":            `"" is not a valid resource id of a virtual machine: it does not begin with "/subscriptions/"; allowed: /subscriptions/<id>/resourceGroups/<group>/providers/Microsoft.Compute/virtualMachines/<name>`,
		"vm1":         `does not begin with "/subscriptions/"`,
		testVM[1:]:    `does not begin with "/subscriptions/"`,
		"/" + testVM:  `it begins with more than one "/": write one`,
		testVM + "/":  `it ends in a "/": leave that out`,
		testVM + "//": `it ends in a "/": leave that out`,
		strings.Replace(testVM, "/vm1", "//vm1", 1): `two "/" in a row`,
		"//" + strings.Replace(testVM, "s1", "", 1): `segment 1 is not`,
		testVM + "/x": "9 segments instead of 8",
		testAccount:   `of type "Microsoft.Storage/storageAccounts"`,
		testVM + "?x": "segment 8",
		testVM + "\n": "segment 8",
		"/ſubscriptions" + testVM[len("/subscriptions"):]:                                               "segment 1 is not",
		strings.Replace(testVM, "s1", "", 1):                                                            "segment 2 is empty",
		strings.Replace(testVM, "resourceGroups", "groups", 1):                                          `segment 3 is not "resourceGroups"`,
		strings.Replace(testVM, "rg1", strings.Repeat("g", 129), 1):                                     "segment 4 is longer than 128 bytes",
		strings.Replace(testVM, "rg1", "{rg", 1):                                                        "segment 4",
		strings.Replace(testVM, "virtualMachines", "virtualMachineScaleSets", 1) + "/virtualMachines/0": "scale set",
		strings.Replace(testVM, "virtualMachines", "virtualMachineScaleSets", 1):                        "scale set",
		strings.Replace(testVM, "Microsoft.Compute", "Microsoft.ClassicCompute", 1):                     `"Microsoft.ClassicCompute/virtualMachines"`,
		"/subscriptions": "segment 3 is not",
	} {
		if _, err := parseVM(bad); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: got %v, want %q in it", bad, err, says)
		}
	}
}

func TestParseStorageAccount(t *testing.T) {
	for _, good := range []string{testAccount, strings.ToUpper(testAccount), strings.Replace(testAccount, "s1", "{subscriptionId}", 1)} {
		if _, err := parseStorageAccount(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for bad, says := range map[string]string{
		"pcstore": "is not a valid resource id of a storage account",
		testVM:    "of type",
		strings.Replace(testAccount, "pcstore", "{storageAccountName}", 1): "{storageAccountName}\" is a placeholder: write the account's name",
		strings.Replace(testAccount, "pcstore", "pc-store", 1):             "3 to 24 letters and digits",
		strings.Replace(testAccount, "pcstore", "pc", 1):                   "3 to 24 letters and digits",
	} {
		if _, err := parseStorageAccount(bad); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: got %v, want %q in it", bad, err, says)
		}
	}
}
