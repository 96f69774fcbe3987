#!/usr/bin/env escript
%%! +sbwt none -noinput
%% What Erlang/OTP takes: a line of JSON for each workload, with the seconds for one of each repeat.
%% usage: erlang.escript REPEATS SCALE

-mode(compile).
-export([init/1]).

main([Repeats, Scale]) ->
    process_flag(trap_exit, true),
    logger:set_primary_config(level, none),
    R = list_to_integer(Repeats), S = list_to_integer(Scale),
    io:format("{\"release\": \"~s\"}~n", [erlang:system_info(otp_release)]),
    run("W1a", R, 200000 div S, fun burst/1),
    run("W1b", R, 200000 div S, fun paced/1),
    run("W2", R, 20000 div S, fun ask/1),
    run("W2c", R, 50000 div S, fun ask_at_once/1),
    run("W3", R, 100000 div S, fun ring/1),
    run("W4", R, 5000 div S, fun come_and_go/1),
    run("W5 deliver", R, max(50 div S, 1), fun deliver/1),
    run("W5 publish", R, 2000 div S, fun publish/1),
    run("W6", R, 3000 div S, fun restart/1).

run(Name, Repeats, Count, Do) ->
    Do(max(Count div 10, 1)),
    Seconds = [begin garbage_collect(), Do(Count) end || _ <- lists:seq(1, Repeats)],
    Text = lists:join(", ", [io_lib:format("~.12f", [X]) || X <- Seconds]),
    io:format("{\"workload\": \"~s\", \"seconds\": [~s]}~n", [Name, Text]).

%% Seconds for one of Count.
timed(Count, Do) ->
    T0 = erlang:monotonic_time(nanosecond),
    Do(),
    (erlang:monotonic_time(nanosecond) - T0) / 1.0e9 / Count.

%% --- A process that counts, or sums up ----------------------------------------------------------------------------

counter(0, Total, Owner) -> Owner ! {counted, self()}, counter(-1, Total, Owner);
counter(Left, Total, Owner) ->
    receive
        tick -> counter(Left - 1, Total, Owner);
        {From, Ref, add, N} -> From ! {Ref, Total + N}, counter(Left, Total + N, Owner);
        stop -> ok
    end.

burst(Count) ->
    Self = self(),
    P = spawn(fun() -> counter(Count, 0, Self) end),
    X = timed(Count, fun() -> [P ! tick || _ <- lists:seq(1, Count)], receive {counted, P} -> ok end end),
    P ! stop, X.

paced(Count) ->
    Self = self(),
    P = spawn(fun() -> counter(Count, 0, Self) end),
    X = timed(Count, fun() ->
        [begin P ! tick, N rem 100 == 0 andalso erlang:yield() end || N <- lists:seq(1, Count)],
        receive {counted, P} -> ok end end),
    P ! stop, X.

call(P) ->
    Ref = monitor(process, P),
    P ! {self(), Ref, add, 1},
    receive {Ref, Total} -> demonitor(Ref, [flush]), Total end.

ask(Count) ->
    Self = self(),
    P = spawn(fun() -> counter(-1, 0, Self) end),
    X = timed(Count, fun() -> Count = lists:foldl(fun(_, _) -> call(P) end, 0, lists:seq(1, Count)) end),
    P ! stop, X.

ask_at_once(Count) ->
    Self = self(), Each = max(Count div 100, 1),
    P = spawn(fun() -> counter(-1, 0, Self) end),
    X = timed(Each * 100, fun() ->
        Askers = [spawn(fun() -> [call(P) || _ <- lists:seq(1, Each)], Self ! {asked, self()} end)
                  || _ <- lists:seq(1, 100)],
        [receive {asked, A} -> ok end || A <- Askers] end),
    P ! stop, X.

%% --- Ring ---------------------------------------------------------------------------------------------------------

node(Next, Owner) ->
    receive
        {next, P} -> node(P, Owner);
        {token, 1} -> Owner ! ended, node(Next, Owner);
        {token, N} -> Next ! {token, N - 1}, node(Next, Owner);
        stop -> ok
    end.

ring(Count) ->
    Self = self(),
    First = spawn(fun() -> node(none, Self) end),
    Rest = lists:foldl(fun(_, [P | _] = Ps) -> [spawn(fun() -> node(P, Self) end) | Ps] end, [First],
                       lists:seq(1, 999)),
    Last = hd(Rest),
    First ! {next, Last},
    X = timed(Count, fun() -> Last ! {token, Count}, receive ended -> ok end end),
    [P ! stop || P <- Rest], X.

%% --- Life ---------------------------------------------------------------------------------------------------------

sup(Restarts, Start) ->
    Flags = #{strategy => Restarts, intensity => 1000000000, period => 5},
    Child = #{id => child, start => {erlang, apply, [Start, []]}, restart => permanent, shutdown => 5000},
    {ok, Sup} = supervisor:start_link(?MODULE, {Flags, [Child]}),
    Sup.

init({Flags, Children}) -> {ok, {Flags, Children}}.

come_and_go(Count) ->
    Flags = #{strategy => simple_one_for_one, intensity => 1, period => 5},
    Start = fun() -> Me = self(), proc_lib:start_link(erlang, apply, [fun() ->
        process_flag(trap_exit, true), proc_lib:init_ack({ok, self()}), receive {'EXIT', Me, R} -> exit(R) end end, []]) end,
    Child = #{id => child, start => {erlang, apply, [Start, []]}, restart => temporary, shutdown => 5000},
    {ok, Sup} = supervisor:start_link(?MODULE, {Flags, [Child]}),
    X = timed(Count, fun() ->
        [begin {ok, P} = supervisor:start_child(Sup, []), ok = supervisor:terminate_child(Sup, P) end
         || _ <- lists:seq(1, Count)] end),
    unlink(Sup), exit(Sup, shutdown), X.

player(N) ->
    receive
        fail -> exit(oops);
        {From, Ref, which} -> From ! {Ref, N}, player(N)
    end.

restart(Count) ->
    Counter = counters:new(1, []),
    Start = fun() -> counters:add(Counter, 1, 1), N = counters:get(Counter, 1),
        proc_lib:start_link(erlang, apply, [fun() ->
            register(player, self()), proc_lib:init_ack({ok, self()}), player(N) end, []]) end,
    Sup = sup(one_for_one, Start),
    X = timed(Count, fun() -> [begin player ! fail, answered(N + 1) end || N <- lists:seq(1, Count)] end),
    unlink(Sup), exit(Sup, shutdown), X.

%% Asks by name until the one after the failure has answered.
answered(Wanted) ->
    case whereis(player) of
        undefined -> erlang:yield(), answered(Wanted);
        P ->
            Ref = monitor(process, P),
            P ! {self(), Ref, which},
            receive
                {Ref, Wanted} -> demonitor(Ref, [flush]);
                {Ref, _} -> demonitor(Ref, [flush]), answered(Wanted);
                {'DOWN', Ref, _, _, _} -> answered(Wanted)
            end
    end.

%% --- Events -------------------------------------------------------------------------------------------------------

listener(Owner) ->
    receive {event, Ref} -> Owner ! Ref, listener(Owner); stop -> ok end.

events(Count, Subscribers, Of) ->
    Self = self(),
    Ps = [spawn(fun() -> listener(Self) end) || _ <- lists:seq(1, Subscribers)],
    X = timed(Of, fun() ->
        [begin Ref = make_ref(), [P ! {event, Ref} || P <- Ps], [receive Ref -> ok end || _ <- Ps] end
         || _ <- lists:seq(1, Count)] end),
    [P ! stop || P <- Ps], X.

deliver(Count) -> events(Count, 1000, Count * 1000).
publish(Count) -> events(Count, 10, Count).
