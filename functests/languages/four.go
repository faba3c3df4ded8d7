// hello, cat, sort and readdir, by the name of the task.
package main

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"sort"
)

func sortLines(out io.Writer) error {
	var lines []string
	scanner := bufio.NewScanner(os.Stdin)
	for scanner.Scan() {
		lines = append(lines, scanner.Text())
	}
	sort.Strings(lines)
	for _, line := range lines {
		fmt.Fprintln(out, line)
	}
	return scanner.Err()
}

func list(out io.Writer, folder string) error {
	return filepath.WalkDir(folder, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || path == folder {
			return err
		}
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		kind := "c"
		if info.IsDir() {
			kind = "d"
		} else if info.Mode().IsRegular() {
			kind = "f"
		}
		_, err = fmt.Fprintln(out, kind, info.Size(), path)
		return err
	})
}

func main() {
	out := bufio.NewWriter(os.Stdout)
	var err error
	switch os.Args[1] {
	case "hello":
		_, err = fmt.Fprintln(out, "hello")
	case "cat":
		_, err = io.Copy(out, os.Stdin)
	case "sort":
		err = sortLines(out)
	case "readdir":
		err = list(out, os.Args[2])
	}
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		log.Fatal(err)
	}
}
