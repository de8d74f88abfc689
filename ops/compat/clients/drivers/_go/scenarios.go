package contract

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

const (
	large = 68157440
	small = 65536
)

var sizes = []int{0, 1, 65535, 65536, 65537, 5242879, 5242880, 5242881}

var names = []string{
	"plain", "with space", "plus+sign", "percent%20kept", "percent%2Fslash", "ünïcödé", "日本語", "emoji-😀", "a//b", "trailing.",
	"semi;colon", "at@amp&eq=q?hash#", `quote'"`, "<xml>&amp;", "tilde~(paren)!*", `back\slash`,
}

var scenarios = map[string]func(driver) error{
	"sizes": driver.sizes, "multipart": driver.multipart, "unknown_length": driver.unknownLength, "ranges": driver.ranges,
	"names": driver.names, "delimiter": driver.delimiter, "many": driver.many, "copy": driver.copy,
	"copy_large": driver.copyLarge, "delete_many": driver.deleteMany, "metadata": driver.metadata, "tags": driver.tags,
	"presigned_get": driver.presignedGet, "presigned_put": driver.presignedPut, "conditional_put": driver.conditionalPut,
	"versions": driver.versions, "checksums": driver.checksums, "abort": driver.abort,
	"sync": func(driver) error { return Absent("the library has no sync of a tree") },
}

type driver struct {
	Input
	Client
}

func (d driver) key(name string) string { return d.Prefix + name }

func (d driver) sizes() error {
	for _, size := range sizes {
		body, err := d.Body(size)
		if err != nil {
			return err
		}
		key, kept := d.key("sizes/"+strconv.Itoa(size)), d.key("sizes/kept-"+strconv.Itoa(size))
		stored, err := d.Put(d.Bucket, key, Put{Body: body})
		if err != nil {
			return fmt.Errorf("put of %d bytes: %w", size, err)
		}
		if err := d.holds(key, body); err != nil {
			return err
		}
		head, err := d.Head(d.Bucket, key)
		if err != nil {
			return fmt.Errorf("head of %d bytes: %w", size, err)
		}
		if head.Size != int64(size) || bare(head.ETag) == "" || bare(head.ETag) != bare(stored.ETag) {
			return fmt.Errorf("head of %d bytes: size %d, ETag %s, the put's was %s", size, head.Size, head.ETag, stored.ETag)
		}
		if err := d.Delete(d.Bucket, key, ""); err != nil {
			return fmt.Errorf("delete of %d bytes: %w", size, err)
		}
		if _, err := d.Head(d.Bucket, key); !d.NotFound(err) {
			return fmt.Errorf("head after the delete of %d bytes: %v", size, err)
		}
		if _, err := d.Put(d.Bucket, kept, Put{Body: body}); err != nil {
			return fmt.Errorf("second put of %d bytes: %w", size, err)
		}
	}
	return nil
}

func (d driver) multipart() error {
	if err := d.Upload(d.Bucket, d.key("multipart/file"), d.BodyPath(large)); err != nil {
		return fmt.Errorf("upload: %w", err)
	}
	return d.downloads("multipart/file")
}

func (d driver) unknownLength() error {
	file, err := os.Open(d.BodyPath(large))
	if err != nil {
		return err
	}
	defer file.Close()
	// A reader and nothing else: no length, no seeking.
	if err := d.UploadStream(d.Bucket, d.key("unknown/stream"), struct{ io.Reader }{file}); err != nil {
		return fmt.Errorf("upload of a stream: %w", err)
	}
	return d.downloads("unknown/stream")
}

func (d driver) ranges() error {
	body, err := d.Body(large)
	if err != nil {
		return err
	}
	for _, r := range []struct {
		asked    Range
		from, to int
	}{
		{Range{0, 0}, 0, 1},
		{Range{65530, 65545}, 65530, 65546},
		{Range{large - 1, large - 1}, large - 1, large},
		{Range{-1, 70000}, large - 70000, large},
		{Range{large - 100000, -1}, large - 100000, large},
	} {
		got, err := d.Get(d.Bucket, d.key("multipart/file"), "", &r.asked)
		if err != nil {
			return fmt.Errorf("range %v: %w", r.asked, err)
		}
		if !bytes.Equal(got.Body, body[r.from:r.to]) {
			return fmt.Errorf("range %v: %d bytes that are not those", r.asked, len(got.Body))
		}
	}
	return nil
}

func (d driver) names() error {
	wanted := map[string]int64{}
	for _, name := range names {
		if slices.Contains(d.CannotName, name) {
			continue
		}
		key := d.key("names/" + name)
		if _, err := d.Put(d.Bucket, key, Put{Body: []byte(name)}); err != nil {
			return fmt.Errorf("put of %q: %w", name, err)
		}
		if err := d.holds(key, []byte(name)); err != nil {
			return err
		}
		wanted[key] = int64(len(name))
	}
	listing, err := d.List(d.Bucket, d.key("names/"), "")
	if err != nil {
		return fmt.Errorf("list: %w", err)
	}
	for _, entry := range listing.Entries {
		if size, known := wanted[entry.Key]; !known || size != entry.Size {
			return fmt.Errorf("listed with %d bytes, and not put so: %q", entry.Size, entry.Key)
		}
		delete(wanted, entry.Key)
	}
	return same("names that the list lacks", slices.Collect(maps.Keys(wanted)), nil)
}

func (d driver) delimiter() error {
	for _, name := range []string{"d/a/1", "d/a/2", "d/b/1", "d/top"} {
		if _, err := d.Put(d.Bucket, d.key(name), Put{Body: []byte(name)}); err != nil {
			return err
		}
	}
	listing, err := d.List(d.Bucket, d.key("d/"), "/")
	if err != nil {
		return err
	}
	if err := same("the prefixes", listing.Prefixes, []string{d.key("d/a/"), d.key("d/b/")}); err != nil {
		return err
	}
	return same("the keys", keys(listing), []string{d.key("d/top")})
}

func (d driver) many() error {
	listing, err := d.List(d.Bucket, "many/", "")
	if err != nil {
		return err
	}
	found := keys(listing)
	if !slices.IsSorted(found) || len(slices.Compact(slices.Clone(found))) != 1100 || len(found) != 1100 {
		return fmt.Errorf("%d keys listed, in order: %t", len(found), slices.IsSorted(found))
	}
	return nil
}

func (d driver) copy() error {
	body, err := d.Body(small)
	if err != nil {
		return err
	}
	source, target := d.key("copy/source"), d.key("copy/target")
	put := Put{Body: body, ContentType: "text/x-copied", Metadata: map[string]string{"origin": "source"}}
	if _, err := d.Put(d.Bucket, source, put); err != nil {
		return err
	}
	if err := d.Copy(d.Bucket, source, target); err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	if err := d.holds(target, body); err != nil {
		return err
	}
	head, err := d.Head(d.Bucket, target)
	if err != nil {
		return err
	}
	if err := same("the content type", head.ContentType, put.ContentType); err != nil {
		return err
	}
	return same("the metadata", lower(head.Metadata), put.Metadata)
}

func (d driver) copyLarge() error {
	if err := d.CopyLarge(d.Bucket, d.key("multipart/file"), d.key("copy/large")); err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	return d.downloads("copy/large")
}

func (d driver) deleteMany() error {
	var doomed []string
	for number := range 25 {
		doomed = append(doomed, d.key(fmt.Sprintf("keep/doomed-%02d", number)))
	}
	for _, key := range append(slices.Clone(doomed), d.key("keep/one")) {
		if _, err := d.Put(d.Bucket, key, Put{Body: []byte(key)}); err != nil {
			return err
		}
	}
	if err := d.DeleteMany(d.Bucket, doomed); err != nil {
		return fmt.Errorf("delete of 25 keys: %w", err)
	}
	listing, err := d.List(d.Bucket, d.key("keep/"), "")
	if err != nil {
		return err
	}
	return same("the keys left", keys(listing), []string{d.key("keep/one")})
}

// downloads compares a large object with the large body, by the client's download.
func (d driver) downloads(name string) error {
	path := filepath.Join(d.Work, "downloaded")
	defer os.Remove(path)
	if err := d.Download(d.Bucket, d.key(name), path); err != nil {
		return fmt.Errorf("download of %s: %w", name, err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	want, err := d.Body(large)
	if err == nil && !bytes.Equal(got, want) {
		err = fmt.Errorf("%s: %d bytes downloaded are not the %d uploaded", name, len(got), len(want))
	}
	return err
}

// holds compares an object with what was put.
func (d driver) holds(key string, body []byte) error {
	got, err := d.Get(d.Bucket, key, "", nil)
	if err != nil {
		return fmt.Errorf("get of %q: %w", key, err)
	}
	if !bytes.Equal(got.Body, body) {
		return fmt.Errorf("get of %q: %d bytes that are not the %d put", key, len(got.Body), len(body))
	}
	return nil
}

func same[T any](what string, got, want T) error {
	if !reflect.DeepEqual(got, want) {
		return fmt.Errorf("%s: %v instead of %v", what, got, want)
	}
	return nil
}

func bare(etag string) string { return strings.Trim(etag, `"`) }

func keys(listing Listing) (found []string) {
	for _, entry := range listing.Entries {
		found = append(found, entry.Key)
	}
	return found
}

// lower: header names have no case, and some clients give metadata as Go writes headers.
func lower(metadata map[string]string) map[string]string {
	lowered := map[string]string{}
	for name, value := range maps.All(metadata) {
		lowered[strings.ToLower(name)] = value
	}
	return lowered
}
