#!/usr/bin/env escript
%%! -noinput
%% An echo server and a client with {packet,4}, as the rows of proto/conformance want them; twisted_ends.py beside this and
%% subjects.py, which runs them, have the same command line and the same words.
%%
%%   serve plain LIMIT...   a listener for each limit ({packet_size, LIMIT}; 0: not set), and for each a line "listening on
%%                          HOST:PORT"; ends when its standard input does
%%   ask                    a client for each line "ID PORT LIMIT ordered|none|ignored ends|stays PAYLOAD...", payloads in hex or
%%                          "-"; says "ID PAYLOAD... WORD": each that came ("SIZE:MD5" of a long one), then how it ended
-mode(compile).

-define(PATIENCE_MS, 10000).

main(["serve", "plain" | Limits]) ->
    [listen(list_to_integer(Limit)) || Limit <- Limits],
    wait_for_end_of_input(fun(_) -> ok end);
main(["ask"]) ->
    wait_for_end_of_input(fun(Line) -> spawn(fun() -> client_or_why(string:lexemes(Line, " \n")) end) end).

wait_for_end_of_input(Each) ->
    Input = open_port({fd, 0, 1}, [in, binary, {line, 4000000}]),
    take_lines(Input, [], Each).

take_lines(Input, Part, Each) ->
    receive
        {Input, {data, {eol, Line}}} -> Each(binary_to_list(iolist_to_binary([Part, Line]))), take_lines(Input, [], Each);
        {Input, {data, {noeol, Line}}} -> take_lines(Input, [Part, Line], Each);
        {'EXIT', Input, _} -> halt(0)
    end.

options(0) -> [binary, {packet, 4}, {active, false}, {nodelay, true}];
options(Limit) -> [{packet_size, Limit} | options(0)].

%% ---- the server ----

listen(Limit) ->
    process_flag(trap_exit, true),
    {ok, Listener} = gen_tcp:listen(0, [{ip, {127, 0, 0, 1}}, {backlog, 1024} | options(Limit)]),
    {ok, Port} = inet:port(Listener),
    io:format("listening on 127.0.0.1:~b~n", [Port]),
    Pid = spawn(fun() -> receive start -> accept(Listener) end end),
    ok = gen_tcp:controlling_process(Listener, Pid),
    Pid ! start.

accept(Listener) ->
    {ok, Socket} = gen_tcp:accept(Listener),
    Pid = spawn(fun() -> receive start -> echo(Socket) end end),
    ok = gen_tcp:controlling_process(Socket, Pid),
    Pid ! start,
    accept(Listener).

echo(Socket) ->
    case gen_tcp:recv(Socket, 0) of
        {ok, Payload} -> gen_tcp:send(Socket, Payload), echo(Socket);
        {error, _} -> gen_tcp:close(Socket)
    end.

%% ---- the client ----

client_or_why([Id | _] = Words) ->
    try client(Words) catch _:Why -> io:format("~s ~0P~n", [Id, Why, 6]) end.

client([Id, Port, Limit | Call]) ->
    case gen_tcp:connect({127, 0, 0, 1}, list_to_integer(Port), options(list_to_integer(Limit)), ?PATIENCE_MS) of
        {ok, Socket} -> call(Id, Socket, Call);
        {error, Why} -> io:format("~s ~s~n", [Id, Why])
    end.

call(Id, Socket, [Replies, Stays | Payloads]) ->
    Sender = spawn(fun() -> [gen_tcp:send(Socket, bytes(P)) || P <- Payloads] end),
    case Replies of
        "ignored" -> wait_for(Sender), gen_tcp:shutdown(Socket, write);
        _ -> ok
    end,
    Count = case Replies of "ordered" -> length(Payloads); _ -> for_ever end,
    {Came, Word} = hear(Socket, Count, Stays, []),
    gen_tcp:close(Socket),
    Shown = case Replies of "ignored" -> []; _ -> [[C, " "] || C <- Came] end,
    io:format("~s ~s~s~n", [Id, Shown, Word]).

wait_for(Pid) ->
    Ref = monitor(process, Pid),
    receive {'DOWN', Ref, process, Pid, _} -> ok end.

hear(_, 0, "ends", Came) -> {lists:reverse(Came), "ok"};
hear(Socket, Count, Stays, Came) ->
    case gen_tcp:recv(Socket, 0, ?PATIENCE_MS) of
        {ok, Payload} when Count =:= 0 -> {lists:reverse([shown(Payload) | Came]), "surplus"};
        {ok, Payload} -> hear(Socket, case Count of for_ever -> Count; N -> N - 1 end, Stays, [shown(Payload) | Came]);
        {error, Why} -> {lists:reverse(Came), atom_to_list(Why)}
    end.

bytes("-") -> <<>>;
bytes(Hex) -> binary:decode_hex(list_to_binary(Hex)).

shown(<<>>) -> "-";
shown(Payload) when byte_size(Payload) =< 64 -> string:lowercase(binary:encode_hex(Payload));
shown(Payload) -> io_lib:format("~b:~s", [byte_size(Payload), string:lowercase(binary:encode_hex(erlang:md5(Payload)))]).
