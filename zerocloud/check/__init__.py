"""`zerocloud-check`: looks at a host of a cluster and says what to mend.

Reads the conf files of its proxy server, its object server or both, and then
the host and the other servers as those files describe them:

    finding   what a check says          conf      conf files, as Paste does
    pipeline  the filter's place         options   values, names, policies
    kernel    what VMs need of it        folders   state and cache
    runner    zvm and zvm-compile        images    system images' digests
    rings     which servers there are    servers   reach, key, filter, clock
    capacity  caps against the machine   host      all of it, in order
    main      the command

Needs no root and changes nothing: it runs `zvm --version`, compiles a program
of fifty bytes and throws it away, and asks servers for things that run
nothing.
Importing this package imports no Swift; `rings` does, to read the rings.
"""
