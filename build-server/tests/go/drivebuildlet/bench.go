package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/build/buildlet"
)

// outputBytes is what one sample of -bench=output prints on the machine.
const outputBytes = 1 << 30

// measure prints the seconds of each sample, one a line.
func measure(c *buildlet.Client, what string, samples int) error {
	sample, ok := map[string]func(*buildlet.Client) error{
		"exec":   benchExec,
		"output": benchOutput,
		"push":   benchPush,
	}[what]
	if !ok {
		return fmt.Errorf("unknown measurement %q", what)
	}
	for i := 0; i < samples; i++ {
		begin := time.Now()
		if err := sample(c); err != nil {
			return err
		}
		fmt.Printf("%.6f\n", time.Since(begin).Seconds())
	}
	return nil
}

func benchExec(c *buildlet.Client) error {
	return wantOutput(c, "", "/bin/true")
}

func benchOutput(c *buildlet.Client) error {
	var n int64
	count := writerFunc(func(p []byte) { n += int64(len(p)) })
	remote, err := runTo(c, count, "/usr/bin/head", buildlet.ExecOpts{
		SystemLevel: true,
		Args:        []string{"-c", fmt.Sprint(outputBytes), "/dev/zero"},
	})
	if err == nil {
		err = remote
	}
	if err == nil && n != outputBytes {
		err = errors.New("output is not whole")
	}
	return err
}

func benchPush(c *buildlet.Client) error {
	file, err := os.Open(*archive)
	if err != nil {
		return err
	}
	defer file.Close()
	return c.PutTar(ctx, file, "pushed")
}
