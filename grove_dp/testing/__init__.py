"""Tools that test the data plane from outside, over real sockets: exact bytes in, exact bytes out.

`http`      a client that sends bytes in given pieces and reads answers strictly
`worker`    a worker that answers from a script and keeps every request byte for byte
`net`       a TCP proxy that cuts, delays, throttles, drips and never answers
`frontend`  `grove-dp serve` as a process: started, asked through its admin port, stopped
"""
