// The FourierCompress encoder: an S x D activation, row by row and eight channels a beat, to the K_S x K_D block of low
// frequencies of its spectrum. README.md beside this has the architecture, the number formats and the order of beats.
module fc_encoder #(
    parameter LANES = 64,
    parameter DEPTH = 98945  // words of each of two banks: 257 rows of 385 words, all that S = 512 and D = 3072 can need
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
    // Eight mantissas of 16 bits; the exponent is that of the row.
    input in_valid,
    output in_ready,
    input [127:0] in_data,
    input signed [7:0] in_exponent,
    // Four complex coefficients of 16 bits a part.
    output out_valid,
    input out_ready,
    output [127:0] out_data,
    output signed [7:0] out_exponent,
    output out_last,
    output [20:0] out_saturations  // with the last: mantissas of the activation at the rails
);
    localparam ADDRESS = $clog2(DEPTH);
    localparam HALF = DEPTH / 2;

    wire a_valid, b_valid, c_valid, a_pop, b_pop, c_pop;
    wire [1:0] a_at, b_at, c_at;
    wire [82:0] a_job, b_job, c_job;
    jobs #(.DECODE(0), .DEPTH(DEPTH)) jobs (
        .clk(clk), .rst(rst), .cfg_valid(cfg_valid), .cfg_ready(cfg_ready), .cfg_tokens(cfg_tokens), .cfg_shape(cfg_shape),
        .cfg_ks(cfg_ks), .cfg_kd(cfg_kd), .refused(cfg_refused), .a_pop(a_pop), .b_pop(b_pop), .c_pop(c_pop),
        .a_valid(a_valid), .b_valid(b_valid), .c_valid(c_valid), .a_at(a_at), .b_at(b_at), .c_at(c_at), .a(a_job),
        .b(b_job), .c(c_job)
    );

    // A: the activation comes in.
    wire [9:0] a_tokens = a_job[82:73];
    wire [1:0] a_shape = a_job[72:71];
    wire [11:0] a_hidden = a_job[48:37];
    wire [8:0] a_tiles = a_job[36:28];
    reg [9:0] a_row;
    reg [8:0] a_beat;
    wire axis_ready;
    assign in_ready = axis_ready & a_valid;
    wire taken = in_valid & in_ready;
    wire row_in = taken & a_beat == a_hidden[11:3] - 1'b1;
    assign a_pop = row_in & a_row == a_tokens - 1'b1;
    wire [16*27-1:0] points;
    reg [3:0] rails;
    integer i;
    always @* begin
        rails = 0;
        for (i = 0; i < 8; i = i + 1)
            rails = rails + (in_data[16*i+:15] == {15{!in_data[16*i+15]}} | in_data[16*i+:16] == 16'h8001);
    end
    genvar k;
    generate
        for (k = 0; k < 8; k = k + 1) begin : point
            assign points[54*k+:54] = {27'd0, in_data[16*k+15], in_data[16*k+:16], 10'd0};
        end
    endgenerate
    reg [20:0] saturations;
    reg [20:0] saturations_of[0:3];
    wire [20:0] saturations_now = saturations + rails;
    always @(posedge clk) begin
        if (taken) begin
            a_beat <= row_in ? 9'd0 : a_beat + 1'b1;
            if (row_in) a_row <= a_pop ? 10'd0 : a_row + 1'b1;
            saturations <= a_pop ? 21'd0 : saturations_now;
            if (a_pop) saturations_of[a_at] <= saturations_now;
        end
        if (rst) {a_row, a_beat, saturations} <= 0;
    end

    wire row_valid, row_ready, row_last;
    wire [16*27-1:0] row_data;
    wire signed [7:0] row_exponent;
    hidden_axis #(.TAG(8)) hidden_axis (
        .clk(clk), .rst(rst), .in_valid(in_valid & a_valid), .in_ready(axis_ready), .in_more(a_row != 0 | a_beat != 0),
        .in_data(points), .in_shape(a_shape), .in_beats((a_tiles + 9'd1) >> 1), .in_tag(in_exponent),
        .out_valid(row_valid), .out_ready(row_ready), .out_last(row_last), .out_data(row_data), .out_tag(row_exponent)
    );

    // B: low columns of each row's spectrum, four a word, into the column buffer: rows up to S / 2 in one bank, the others in
    // the other, so that rows q and S - q are read at once.
    wire [9:0] b_tokens = b_job[82:73];
    wire [8:0] b_tiles = b_job[36:28];
    wire [17:0] b_words = b_job[17:0];
    wire b_big = b_words > HALF;
    reg b_open, b_upper;  // the second four of a beat
    reg region, next_region;
    reg [1:0] busy;
    reg [9:0] b_row;
    reg [8:0] b_tile;
    reg [ADDRESS-1:0] low, high, high_last, b_base;
    wire can_open = b_valid & !b_open & (b_big ? busy == 0 : !busy[next_region]);
    wire word_valid = b_open & row_valid;
    wire word_high = b_row > b_tokens >> 1;
    wire tile_last = b_tile == b_tiles - 1'b1;
    assign row_ready = b_open & (b_upper | tile_last);
    assign b_pop = word_valid & tile_last & b_row == b_tokens - 1'b1;
    wire [ADDRESS-1:0] high_last_now = word_high & b_tile == 0 ? high : high_last;
    reg [ADDRESS-1:0] base_of[0:3], high_last_of[0:3];
    reg [1:0] busy_of[0:3];
    wire [1:0] frees;
    always @(posedge clk) begin
        busy <= busy & ~frees;
        if (can_open) begin
            b_open <= 1;
            busy <= (busy & ~frees) | (b_big ? 2'b11 : 2'b01 << next_region);
            busy_of[b_at] <= b_big ? 2'b11 : 2'b01 << next_region;
            region <= !b_big & next_region;
            next_region <= !b_big & !next_region;
            low <= !b_big & next_region ? HALF : 0;
            high <= !b_big & next_region ? HALF : 0;
            b_base <= !b_big & next_region ? HALF : 0;
            {b_row, b_tile, b_upper} <= 0;
        end
        if (word_valid) begin
            b_upper <= !b_upper & !tile_last;
            b_tile <= tile_last ? 9'd0 : b_tile + 1'b1;
            if (tile_last) b_row <= b_row + 1'b1;
            if (word_high) high <= high + 1'b1;
            else low <= low + 1'b1;
            high_last <= high_last_now;
        end
        if (b_pop) begin
            b_open <= 0;
            base_of[b_at] <= b_base;
            high_last_of[b_at] <= high_last_now;
        end
        if (rst) {b_open, busy, next_region} <= 0;
    end

    wire write, write_high, write_first, write_region, write_last;
    wire [8:0] write_tile;
    wire [ADDRESS-1:0] write_to;
    wire [8*17-1:0] write_data;
    wire signed [9:0] write_exponent;
    normalise #(.W(27), .BITS(17), .TAG(ADDRESS + 13)) normalise_word (
        .clk(clk), .rst(rst), .en(1'b1), .valid(word_valid), .x(b_upper ? row_data[216+:216] : row_data[0+:216]),
        .exponent({{2{row_exponent[7]}}, row_exponent}),
        .tag({b_pop, region, b_row == 0, word_high, b_tile, word_high ? high : low}), .valid_out(write), .y(write_data),
        .exponent_out(write_exponent), .tag_out({write_last, write_region, write_first, write_high, write_tile, write_to})
    );

    wire [ADDRESS-1:0] from_low, from_high;
    wire [143:0] word_low, word_high_read;
    bank #(.DEPTH(DEPTH), .STYLE("ultra")) bank_low (
        .clk(clk), .write(write & !write_high), .to(write_to), .x({write_exponent[7:0], write_data}), .en(1'b1),
        .from(from_low), .y(word_low)
    );
    bank #(.DEPTH(DEPTH), .STYLE("block")) bank_high (
        .clk(clk), .write(write & write_high), .to(write_to), .x({write_exponent[7:0], write_data}), .en(1'b1),
        .from(from_high), .y(word_high_read)
    );
    wire signed [7:0] top;
    wire read_region;
    wire [8:0] read_tile;
    max_table tops (
        .clk(clk), .write(write), .first(write_first), .to({write_region, write_tile}), .x(write_exponent[7:0]),
        .from({read_region, read_tile}), .y(top)
    );

    // C: columns along the tokens, up to LANES row frequencies in a pass.
    wire [9:0] c_tokens = c_job[82:73];
    wire [1:0] c_shape = c_job[72:71];
    wire [9:0] c_ks = c_job[70:61];
    wire [11:0] c_kd = c_job[60:49];
    wire [11:0] c_hidden = c_job[48:37];
    wire [8:0] c_tiles = c_job[36:28];
    wire [9:0] c_rows = c_job[27:18];
    wire [9:0] c_middle = c_tokens >> 1;
    reg [2:0] filled;
    reg [8:0] tile;
    reg [9:0] p0, q;
    reg [7:0] cooldown;
    reg [ADDRESS-1:0] at_low, at_high;
    wire ready;
    wire [9:0] fill;
    wire past_middle = tile < c_hidden[11:3] & {1'b0, c_kd} + {tile, 2'b0} > c_hidden - 13'd3;
    wire [9:0] rest = c_rows - p0;
    // The last two passes are alike, so that neither waits long for the sums of the other.
    wire [6:0] count = rest >= 2 * LANES ? LANES : rest > LANES ? (rest + 1'b1) >> 1 : rest;
    wire pass_last = rest <= LANES;
    wire both = past_middle | c_ks > c_middle + 1'b1;
    wire q_last = q == c_middle;
    // Room for what may be on its way to the queue beside this pass: a pass that is going out, one that is done, the pipeline.
    wire issue = ready & (q != 0 | fill < 512 - 3 * 2 * LANES - 32) & (!q_last | cooldown == 0);
    wire pair = q != 0 & {q, 1'b0} != {1'b0, c_tokens};
    wire tile_done = issue & q_last & pass_last;
    assign c_pop = tile_done & tile == c_tiles - 1'b1;
    assign frees = c_pop ? busy_of[c_at] : 2'b00;
    assign read_tile = tile;
    wire [ADDRESS-1:0] c_base = base_of[c_at], c_high_last = high_last_of[c_at];
    assign read_region = c_base != 0;
    assign from_low = q == 0 ? c_base + tile : at_low;
    assign from_high = q <= 1 ? c_high_last + tile : at_high;

    wire root_valid;
    wire [8:0] root_index;
    wire [35:0] root;
    period period (
        .clk(clk), .rst(rst), .wanted(c_valid & filled != 0), .tokens(c_tokens), .ready(ready), .root_valid(root_valid),
        .root_index(root_index), .root(root)
    );

    localparam TAG = 1 + 21 + 2 + 8;
    localparam PAIR = 1 + 1 + 1 + 1 + 8 + 10 + 10 + 7 + 10 + TAG;
    reg [PAIR-1:0] pair1, pair2;
    wire [9:0] mirrors = past_middle ? 10'd0 : c_tokens - c_ks + 1'b1;
    always @(posedge clk) begin
        if (issue) begin
            q <= q_last ? 10'd0 : q + 1'b1;
            at_low <= from_low + c_tiles;
            at_high <= q == 0 ? from_high : from_high - c_tiles;
            if (q_last) p0 <= pass_last ? 10'd0 : p0 + count;
            if (tile_done) tile <= c_pop ? 9'd0 : tile + 1'b1;
        end
        if (issue & q_last) cooldown <= (both ? {count, 1'b0} : {1'b0, count}) - 1'b1;
        else if (cooldown != 0) cooldown <= cooldown - 1'b1;
        filled <= filled + (write & write_last) - c_pop;
        pair1 <= {issue, q == 0, q_last, pair, top, c_tokens, p0, count, mirrors, c_pop, saturations_of[c_at], c_shape, top};
        pair2 <= pair1;
        if (rst) {q, p0, tile, cooldown, filled, pair1[PAIR-1], pair2[PAIR-1]} <= 0;
    end
    wire t_valid, t_first, t_last, t_pair;
    wire signed [7:0] t_top;
    wire [9:0] t_tokens, t_p0, t_mirrors;
    wire [6:0] t_count;
    wire [TAG-1:0] t_tag;
    assign {t_valid, t_first, t_last, t_pair, t_top, t_tokens, t_p0, t_count, t_mirrors, t_tag} = pair2;

    wire sum_valid, sum_last, job_last;
    wire [8*33-1:0] sum_data;
    wire [20:0] sum_saturations;
    wire [1:0] sum_shape;
    wire signed [7:0] sum_top;
    token_axis #(.DECODE(0), .LANES(LANES), .TAG(TAG)) token_axis (
        .clk(clk), .rst(rst), .root_valid(root_valid), .root_index(root_index), .root(root), .valid(t_valid), .first(t_first),
        .last(t_last), .a(word_low[135:0]), .a_exponent(word_low[143:136]), .b(t_pair ? word_high_read[135:0] : 136'd0),
        .b_exponent(t_pair ? word_high_read[143:136] : 8'h80), .top(t_top), .tokens(t_tokens), .p0(t_p0), .count(t_count),
        .mirrors(t_mirrors), .tag(t_tag), .out_valid(sum_valid), .out_mirror(), .out_last(sum_last), .out_p(),
        .out_data(sum_data), .out_tag({job_last, sum_saturations, sum_shape, sum_top})
    );

    // A sum is in units of 2^(top - 6), the words before it were in units of 2^-10 of the activation's, and the hidden
    // transform divided by 2^8 to 2^12.
    wire [3:0] scale = sum_shape == 0 ? 4'd8 : sum_shape == 3 ? 4'd12 : 4'd11;
    wire signed [9:0] sum_exponent = sum_top - 10'sd16 + $signed({6'd0, scale});
    wire beat_valid, beat_last;
    wire [127:0] beat_data;
    wire signed [9:0] beat_exponent;
    wire [20:0] beat_saturations;
    normalise #(.W(33), .BITS(16), .TAG(22)) normalise_beat (
        .clk(clk), .rst(rst), .en(1'b1), .valid(sum_valid), .x(sum_data), .exponent(sum_exponent),
        .tag({sum_last & job_last, sum_saturations}), .valid_out(beat_valid), .y(beat_data), .exponent_out(beat_exponent),
        .tag_out({beat_last, beat_saturations})
    );
    fifo #(.WIDTH(128 + 8 + 22), .LOG(9)) queue (
        .clk(clk), .rst(rst), .in_valid(beat_valid), .in_ready(), .in_data({beat_last, beat_saturations, beat_exponent[7:0],
        beat_data}), .out_valid(out_valid), .out_ready(out_ready), .out_data({out_last, out_saturations, out_exponent,
        out_data}), .fill(fill)
    );
endmodule
