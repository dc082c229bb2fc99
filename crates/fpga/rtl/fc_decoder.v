// The FourierCompress decoder: a K_S x K_D block of coefficients, which with its mirror is the spectrum, to the S x D
// activation, row by row and eight channels a beat. README.md beside this has the architecture, the number formats and the
// order of beats.
module fc_decoder #(
    parameter LANES = 64,
    parameter DEPTH = 98816  // words of each of two banks: 512 rows of 193 words, all that S = 512 and D = 3072 can need
) (
    input clk,
    input rst,
    // Shapes.
    input cfg_valid,
    output cfg_ready,
    input [9:0] cfg_tokens,
    input [1:0] cfg_shape,
    input [9:0] cfg_ks,
    input [11:0] cfg_kd,
    output cfg_refused,
    // Four complex coefficients of 16 bits a part.
    input in_valid,
    output in_ready,
    input [127:0] in_data,
    input signed [7:0] in_exponent,
    // Eight mantissas of 16 bits.
    output out_valid,
    input out_ready,
    output [127:0] out_data,
    output signed [9:0] out_exponent,
    output out_last,
    output [20:0] out_saturations  // with the last: mantissas of -32768
);
    localparam ADDRESS = $clog2(DEPTH);
    localparam HALF = DEPTH / 2;

    wire a_valid, b_valid, c_valid, a_pop, b_pop, c_pop;
    wire [1:0] a_at, b_at, c_at;
    wire [82:0] a_job, b_job, c_job;
    jobs #(.DECODE(1), .DEPTH(DEPTH)) jobs (
        .clk(clk), .rst(rst), .cfg_valid(cfg_valid), .cfg_ready(cfg_ready), .cfg_tokens(cfg_tokens), .cfg_shape(cfg_shape),
        .cfg_ks(cfg_ks), .cfg_kd(cfg_kd), .refused(cfg_refused), .a_pop(a_pop), .b_pop(b_pop), .c_pop(c_pop),
        .a_valid(a_valid), .b_valid(b_valid), .c_valid(c_valid), .a_at(a_at), .b_at(b_at), .c_at(c_at), .a(a_job),
        .b(b_job), .c(c_job)
    );

    // A: the coefficients of four columns come in while those before are summed. Row frequency u stands beside S - u.
    wire [9:0] a_tokens = a_job[82:73];
    wire [9:0] a_ks = a_job[70:61];
    wire [11:0] a_kd = a_job[60:49];
    wire [11:0] a_hidden = a_job[48:37];
    wire [8:0] a_tiles = a_job[36:28];
    wire [9:0] a_rows = a_job[27:18];
    reg [8:0] a_tile;
    reg [9:0] u;
    reg a_mirror;  // the row frequency S - u is next
    reg into;
    reg [1:0] full;
    reg signed [7:0] top_in;
    reg signed [7:0] tile_top[0:1];
    assign in_ready = a_valid & !full[into];
    wire taken = in_valid & in_ready;
    wire pair = u != 0 & {u, 1'b0} != {1'b0, a_tokens};
    wire past_middle = a_tile < a_hidden[11:3] & {1'b0, a_kd} + {a_tile, 2'b0} > a_hidden - 13'd3;
    wire beyond = a_tokens - u >= a_ks;
    wire sends = pair & (past_middle | !beyond);
    wire u_done = taken & (a_mirror | !sends);
    wire tile_in = u_done & u == a_rows - 1'b1;
    assign a_pop = tile_in & a_tile == a_tiles - 1'b1;
    wire signed [7:0] top_now = (u == 0 & !a_mirror) | in_exponent > top_in ? in_exponent : top_in;
    wire [135:0] weighed;
    wire [3:0] clipped;
    coefficients coefficients (
        .x(in_data), .alone(pair & beyond), .own(a_tile == 0 | a_tile == a_hidden[11:3]), .y(weighed), .clipped(clipped)
    );
    reg [20:0] saturations;
    reg [20:0] saturations_of[0:3];
    wire [20:0] saturations_now = saturations + clipped;
    wire tile_read;
    reg from;
    always @(posedge clk) begin
        if (taken) begin
            top_in <= top_now;
            a_mirror <= !u_done;
            if (u_done) u <= tile_in ? 10'd0 : u + 1'b1;
            saturations <= a_pop ? 21'd0 : saturations_now;
            if (a_pop) saturations_of[a_at] <= saturations_now;
        end
        if (tile_in) begin
            a_tile <= a_pop ? 9'd0 : a_tile + 1'b1;
            tile_top[into] <= top_now;
            into <= !into;
        end
        if (tile_read) from <= !from;
        full <= (full | (tile_in ? 2'b01 << into : 2'b00)) & ~(tile_read ? 2'b01 << from : 2'b00);
        if (rst) {a_tile, u, a_mirror, into, from, full, saturations} <= 0;
    end
    wire [143:0] word = {in_exponent, weighed};
    wire [9:0] read_at;
    wire [143:0] direct_word, mirror_word;
    bank #(.DEPTH(1024), .STYLE("block")) direct (
        .clk(clk), .write(taken & !a_mirror), .to({into, u[8:0]}), .x(word), .en(1'b1), .from(read_at), .y(direct_word)
    );
    // With a direct beat goes a word of zeros, in case no mirror follows.
    bank #(.DEPTH(1024), .STYLE("block")) mirror (
        .clk(clk), .write(taken), .to({into, u[8:0]}), .x(a_mirror ? word : {8'h80, 136'd0}), .en(1'b1), .from(read_at),
        .y(mirror_word)
    );

    // B: sums over the row frequencies, for up to LANES tokens in a pass.
    wire [9:0] b_tokens = b_job[82:73];
    wire [1:0] b_shape = b_job[72:71];
    wire [8:0] b_tiles = b_job[36:28];
    wire [9:0] b_rows = b_job[27:18];
    wire [17:0] b_words = b_job[17:0];
    wire [8:0] b_pitch = (b_tiles + 1'b1) >> 1;  // words of a row in either bank
    wire [9:0] b_middle = b_tokens >> 1;
    wire b_big = b_words > HALF;
    reg b_open, region, next_region;
    reg [1:0] busy;
    wire [1:0] frees;
    wire can_open = b_valid & !b_open & (b_big ? busy == 0 : !busy[next_region]);
    wire [1:0] takes = b_big ? 2'b11 : 2'b01 << next_region;
    wire [ADDRESS-1:0] new_base = !b_big & next_region ? HALF : 0;
    reg [1:0] busy_of[0:3];
    reg [ADDRESS-1:0] base_of[0:3], last_row_of[0:3];
    reg [8:0] pitch_of[0:3];
    reg [9:0] tokens_of[0:3];
    reg [20:0] scale_of[0:3];

    wire period_ready, scale_ready;
    wire root_valid;
    wire [8:0] root_index;
    wire [35:0] root;
    period period (
        .clk(clk), .rst(rst), .wanted(b_open), .tokens(b_tokens), .ready(period_ready), .root_valid(root_valid),
        .root_index(root_index), .root(root)
    );
    wire [16:0] factor;
    wire [3:0] log;
    scale scale (
        .clk(clk), .rst(rst), .wanted(b_open), .n(b_shape == 2 ? {1'b0, b_tokens} : b_tokens + {b_tokens, 1'b0}),
        .ready(scale_ready), .factor(factor), .log(log)
    );

    reg [8:0] tile;
    reg [9:0] p0, q;
    reg [7:0] cooldown;
    wire [9:0] rest = b_middle + 1'b1 - p0;
    // The last two passes are alike, so that neither waits long for the sums of the other.
    wire [6:0] count = rest >= 2 * LANES ? LANES : rest > LANES ? (rest + 1'b1) >> 1 : rest;
    wire pass_last = rest <= LANES;
    wire q_last = q == b_rows - 1'b1;
    wire issue = b_open & period_ready & scale_ready & full[from] & (!q_last | cooldown == 0);
    assign tile_read = issue & q_last & pass_last;
    assign b_pop = tile_read & tile == b_tiles - 1'b1;
    assign read_at = {from, q[8:0]};

    localparam TAG = 1 + 1 + 2 + 9 + 8;
    localparam PAIR = 1 + 1 + 1 + 8 + 10 + 10 + 7 + TAG;
    reg [PAIR-1:0] pair1, pair2;
    always @(posedge clk) begin
        busy <= busy & ~frees;
        if (can_open) begin
            b_open <= 1;
            busy <= (busy & ~frees) | takes;
            busy_of[b_at] <= takes;
            region <= !b_big & next_region;
            next_region <= !b_big & !next_region;
            base_of[b_at] <= new_base;
            last_row_of[b_at] <= new_base + b_words - b_pitch;
            pitch_of[b_at] <= b_pitch;
            tokens_of[b_at] <= b_tokens;
        end
        if (b_pop) begin
            b_open <= 0;
            scale_of[b_at] <= {log, factor};
        end
        if (issue) begin
            q <= q_last ? 10'd0 : q + 1'b1;
            if (q_last) p0 <= pass_last ? 10'd0 : p0 + count;
            if (tile_read) tile <= b_pop ? 9'd0 : tile + 1'b1;
        end
        // Two sums a frequency, but one of 0 and one of S / 2.
        if (issue & q_last) cooldown <= {count, 1'b0} - (p0 == 0) - (pass_last & !b_tokens[0]) - 1'b1;
        else if (cooldown != 0) cooldown <= cooldown - 1'b1;
        pair1 <= {issue, q == 0, q_last, tile_top[from], b_tokens, p0, count, b_pop, region, b_at, tile, tile_top[from]};
        pair2 <= pair1;
        if (rst) {b_open, busy, next_region, q, p0, tile, cooldown, pair1[PAIR-1], pair2[PAIR-1]} <= 0;
    end
    wire t_valid, t_first, t_last;
    wire signed [7:0] t_top;
    wire [9:0] t_tokens, t_p0;
    wire [6:0] t_count;
    wire [TAG-1:0] t_tag;
    assign {t_valid, t_first, t_last, t_top, t_tokens, t_p0, t_count, t_tag} = pair2;

    wire sum_valid, sum_mirror, sum_last, job_last, sum_region;
    wire [9:0] sum_p;
    wire [8*33-1:0] sum_data;
    wire [1:0] sum_at;
    wire [8:0] sum_tile;
    wire signed [7:0] sum_top;
    token_axis #(.DECODE(1), .LANES(LANES), .TAG(TAG)) token_axis (
        .clk(clk), .rst(rst), .root_valid(root_valid), .root_index(root_index), .root(root), .valid(t_valid), .first(t_first),
        .last(t_last), .a(direct_word[135:0]), .a_exponent(direct_word[143:136]), .b(mirror_word[135:0]),
        .b_exponent(mirror_word[143:136]), .top(t_top), .tokens(t_tokens), .p0(t_p0), .count(t_count), .mirrors(10'd0),
        .tag(t_tag), .out_valid(sum_valid), .out_mirror(sum_mirror), .out_last(sum_last), .out_p(sum_p),
        .out_data(sum_data), .out_tag({job_last, sum_region, sum_at, sum_tile, sum_top})
    );

    // Into the column buffer: even words of a row in one bank, odd ones in the other, so that eight columns are read at once.
    // Tokens come in ascending order, and their mirrors in descending.
    reg [ADDRESS-1:0] direct_at, mirror_at;
    wire [ADDRESS-1:0] direct_to = sum_p == 0 ? base_of[sum_at] + sum_tile[8:1] : direct_at + pitch_of[sum_at];
    wire [ADDRESS-1:0] mirror_to = sum_p == 1 ? last_row_of[sum_at] + sum_tile[8:1] : mirror_at - pitch_of[sum_at];
    always @(posedge clk) begin
        if (sum_valid & !sum_mirror) direct_at <= direct_to;
        if (sum_valid & sum_mirror) mirror_at <= mirror_to;
    end
    wire write, write_odd, write_first, write_region, write_last;
    wire [8:0] write_row;
    wire [ADDRESS-1:0] write_to;
    wire [8*17-1:0] write_data;
    wire signed [9:0] write_exponent;
    wire [9:0] sum_row = sum_mirror ? tokens_of[sum_at] - sum_p : sum_p;
    normalise #(.W(33), .BITS(17), .TAG(ADDRESS + 13)) normalise_word (
        .clk(clk), .rst(rst), .en(1'b1), .valid(sum_valid), .x(sum_data), .exponent({{2{sum_top[7]}}, sum_top} - 10'sd16),
        .tag({sum_last & job_last, sum_region, sum_tile == 0, sum_tile[0], sum_row[8:0],
              sum_mirror ? mirror_to : direct_to}), .valid_out(write), .y(write_data), .exponent_out(write_exponent),
        .tag_out({write_last, write_region, write_first, write_odd, write_row, write_to})
    );

    // C: rows back along the hidden axis.
    wire [9:0] c_tokens = c_job[82:73];
    wire [1:0] c_shape = c_job[72:71];
    wire [11:0] c_hidden = c_job[48:37];
    wire [8:0] c_tiles = c_job[36:28];
    wire [8:0] c_pitch = pitch_of[c_at];
    wire [ADDRESS-1:0] c_base = base_of[c_at];
    reg [2:0] filled;
    reg [9:0] row;
    reg [8:0] eight;
    reg [ADDRESS-1:0] row_at;
    wire axis_ready;
    reg [5:1] valids;
    wire move = !valids[5] | axis_ready;
    wire go = c_valid & filled != 0;
    wire take = go & move;
    wire row_last = row == c_tokens - 1'b1;
    wire row_done = take & eight == c_hidden[11:3] - 1'b1;
    assign c_pop = row_done & row_last;
    assign frees = c_pop ? busy_of[c_at] : 2'b00;
    wire [ADDRESS-1:0] row_from = row == 0 ? c_base : row_at;
    wire [143:0] even_word, odd_word;
    wire signed [7:0] top;
    bank #(.DEPTH(DEPTH), .STYLE("ultra")) bank_even (
        .clk(clk), .write(write & !write_odd), .to(write_to), .x({write_exponent[7:0], write_data}), .en(move),
        .from(row_from + eight), .y(even_word)
    );
    bank #(.DEPTH(DEPTH), .STYLE("block")) bank_odd (
        .clk(clk), .write(write & write_odd), .to(write_to), .x({write_exponent[7:0], write_data}), .en(move),
        .from(row_from + eight), .y(odd_word)
    );
    max_table tops (
        .clk(clk), .write(write), .first(write_first), .to({write_region, write_row}), .x(write_exponent[7:0]),
        .from({c_base != 0, row[8:0]}), .y(top)
    );

    localparam ROW = 8 + 21 + 2 + 1 + 21 + 9;
    reg [ROW-1:0] rows[1:5];
    reg [1:0] there1, there2;
    integer i;
    always @(posedge clk) begin
        if (take) begin
            eight <= row_done ? 9'd0 : eight + 1'b1;
            if (row_done) begin
                row <= row_last ? 10'd0 : row + 1'b1;
                row_at <= row_from + c_pitch;
            end
        end
        if (move) begin
            valids <= {valids[4:1], go};
            // The last word of a row may have no odd neighbour, and what is beyond the block is zero.
            there1 <= {{eight, 1'b1} < {1'b0, c_tiles}, {eight, 1'b0} < {1'b0, c_tiles}};
            there2 <= there1;
            rows[1] <= {top, scale_of[c_at], c_shape, row_last, saturations_of[c_at], c_hidden[11:3]};
            for (i = 2; i <= 5; i = i + 1) rows[i] <= rows[i-1];
        end
        filled <= filled + (write & write_last) - c_pop;
        if (rst) {filled, row, eight, valids} <= 0;
    end
    wire signed [7:0] top2 = rows[2][ROW-1-:8];
    wire [8*26-1:0] even, odd;
    align #(.BITS(17), .GUARD(9)) align_even (
        .clk(clk), .en(move), .x(there2[0] ? even_word[135:0] : 136'd0), .exponent(there2[0] ? even_word[143:136] : 8'h80),
        .top(top2), .y(even)
    );
    align #(.BITS(17), .GUARD(9)) align_odd (
        .clk(clk), .en(move), .x(there2[1] ? odd_word[135:0] : 136'd0), .exponent(there2[1] ? odd_word[143:136] : 8'h80),
        .top(top2), .y(odd)
    );
    // The real part of the inverse is that of the conjugate's forward transform.
    wire [16*27-1:0] points;
    genvar k;
    generate
        for (k = 0; k < 4; k = k + 1) begin : point
            wire signed [25:0] even_im = even[52*k+26+:26], odd_im = odd[52*k+26+:26];
            wire signed [26:0] even_minus = -even_im, odd_minus = -odd_im;
            assign points[54*k+:54] = {even_minus, even[52*k+25], even[52*k+:26]};
            assign points[54*(k+4)+:54] = {odd_minus, odd[52*k+25], odd[52*k+:26]};
        end
    endgenerate

    wire eight_valid, eight_ready, eight_last;
    wire [16*27-1:0] eight_data;
    wire signed [7:0] eight_top;
    wire [3:0] eight_log;
    wire [16:0] eight_factor;
    wire [1:0] eight_shape;
    wire eight_row_last;
    wire [20:0] eight_saturations;
    hidden_axis #(.TAG(ROW - 9)) hidden_axis (
        .clk(clk), .rst(rst), .in_valid(valids[5]), .in_ready(axis_ready), .in_more(go | valids != 0), .in_data(points),
        .in_shape(rows[5][32:31]), .in_beats(rows[5][8:0]), .in_tag(rows[5][ROW-1:9]), .out_valid(eight_valid),
        .out_ready(eight_ready), .out_last(eight_last), .out_data(eight_data),
        .out_tag({eight_top, eight_log, eight_factor, eight_shape, eight_row_last, eight_saturations})
    );

    // The real parts over S D, and out.
    reg valid1, valid2;
    reg [8*27-1:0] values;
    reg signed [9:0] exponent1, exponent2;
    reg [21:0] tag1, tag2;
    wire flow = !out_valid | out_ready;
    assign eight_ready = flow;
    generate
        for (k = 0; k < 8; k = k + 1) begin : value
            wire signed [26:0] re = eight_data[54*k+:27];
            wire signed [17:0] times = {1'b0, eight_factor};
            reg signed [44:0] product;
            wire signed [44:0] rounded = product + 45'sd32768;
            always @(posedge clk)
                if (flow) begin
                    product <= re * times;
                    values[27*k+:27] <= rounded[42:16];
                end
        end
    endgenerate
    always @(posedge clk) begin
        if (flow) begin
            valid1 <= eight_valid;
            tag1 <= {eight_last & eight_row_last, eight_saturations};
            // What the hidden transform divides by, beyond the power of two in D, and the places of the words before it.
            exponent1 <= eight_top + (eight_shape == 2 ? 10'sd1 : 10'sd3) - $signed({6'd0, eight_log});
            {valid2, tag2, exponent2} <= {valid1, tag1, exponent1};
        end
        if (rst) {valid1, valid2} <= 0;
    end
    normalise #(.W(27), .BITS(16), .TAG(22)) normalise_beat (
        .clk(clk), .rst(rst), .en(flow), .valid(valid2), .x(values), .exponent(exponent2), .tag(tag2), .valid_out(out_valid),
        .y(out_data), .exponent_out(out_exponent), .tag_out({out_last, out_saturations})
    );
endmodule
