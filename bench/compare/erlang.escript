#!/usr/bin/env escript
%% An Erlang echo of 4-byte frames as it is usually written: {packet, 4} frames, a process for each connection, {active, N}.
-mode(compile).

main([]) ->
    {ok, Listener} = gen_tcp:listen(0, [binary, {packet, 4}, {active, false}, {nodelay, true}, {ip, {127, 0, 0, 1}}, {backlog, 4096}]),
    {ok, Port} = inet:port(Listener),
    io:format(standard_error, "erlang: listening on 127.0.0.1:~b~n", [Port]),
    accept(Listener).

accept(Listener) ->
    {ok, Socket} = gen_tcp:accept(Listener),
    Server = spawn(fun() -> receive go -> inet:setopts(Socket, [{active, 100}]), echo(Socket) end end),
    ok = gen_tcp:controlling_process(Socket, Server),
    Server ! go,
    accept(Listener).

echo(Socket) ->
    receive
        {tcp, Socket, Frame} -> gen_tcp:send(Socket, Frame), echo(Socket);
        {tcp_passive, Socket} -> inet:setopts(Socket, [{active, 100}]), echo(Socket);
        {tcp_closed, Socket} -> ok;
        {tcp_error, Socket, _} -> gen_tcp:close(Socket)
    end.
